"""Training. The only place that imports torch, and only inside functions that need it."""
