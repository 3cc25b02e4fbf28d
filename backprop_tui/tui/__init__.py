"""The screens. Reads facts, plans and events; never imports torch."""
