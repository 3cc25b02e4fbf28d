"""The six steps of the wizard, one file each."""
