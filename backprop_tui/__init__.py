"""Preference tuning on one consumer GPU, in the terminal."""

__version__ = "0.1.0"
