"""Meters that speak M-Bus, over TCP or a serial port (EN 13757-2 and -3).

`frames`, `secondary`, `numbers`, `meanings` and `telegram` are pure; `profile` says which records are wanted; `line`
and `bus` carry bytes, `asking` asks a meter, `driver` does so again and again. Why it is our own code: docs/mbus.md.
"""
