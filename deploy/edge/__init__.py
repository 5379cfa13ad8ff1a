"""The agent on a device: how it is installed, and what of it there is for which processor."""
