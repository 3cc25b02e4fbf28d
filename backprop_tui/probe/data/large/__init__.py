"""Data sets too large to read in a moment: a glance at a sample, and an exact count in workers."""
