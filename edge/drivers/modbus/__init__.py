"""Meters that speak Modbus, over TCP or RTU.

`registers` and `frames` are pure, `profile` says what registers mean, `line` where a device is reached; `bus` carries
requests, `client` asks one device, `driver` does it again and again.
"""
