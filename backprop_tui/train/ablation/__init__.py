"""Trains and scores the cells of an ablation, each in a process of its own."""
