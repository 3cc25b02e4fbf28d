"""Measuring a model by itself: pairs scored, answers generated, intervals, results on disk."""
