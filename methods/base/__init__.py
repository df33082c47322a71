"""This package says what a method is and what it is given."""
