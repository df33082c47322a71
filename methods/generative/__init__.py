"""Generators that replay: images of earlier tasks are drawn from a model instead of kept."""
