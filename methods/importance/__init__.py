"""How much a weight matters: Fisher diagonals and their relatives."""
