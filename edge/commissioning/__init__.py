"""Putting meters into service: finding devices, reading one to see whether it is right, and saying what to try."""
