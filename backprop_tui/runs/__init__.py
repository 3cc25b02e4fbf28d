"""Run folders, seen from any process: who owns one, what it did, what is asked of it."""
