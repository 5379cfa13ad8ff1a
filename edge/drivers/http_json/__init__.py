"""Devices that answer with a JSON document when they are asked over HTTP."""
