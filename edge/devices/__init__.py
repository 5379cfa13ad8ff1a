"""Devices that do not exist: they speak the real protocols on loopback, for tests, trials and whoever writes a driver."""
