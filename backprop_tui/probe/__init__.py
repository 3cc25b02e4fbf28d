"""Reads the outside world and returns facts."""
