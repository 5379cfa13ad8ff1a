"""Devices that publish by themselves: what they say at a broker becomes readings."""
