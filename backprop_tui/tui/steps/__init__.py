"""The seven steps of the wizard, one file each."""
