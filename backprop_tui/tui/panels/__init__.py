"""The boxes of the screens, one per file."""
