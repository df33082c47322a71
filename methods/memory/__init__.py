"""This package keeps examples and outputs of old tasks."""
