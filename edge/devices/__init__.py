"""Devices that do not exist.

They speak the real protocols on loopback, for tests, trials and whoever writes a driver.
"""
