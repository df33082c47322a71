"""The tests, one folder a floor. A package by its own name: avalanche-lib installs a package `tests` of its own."""
