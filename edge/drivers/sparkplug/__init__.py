"""Sparkplug B as host: `host` (the protocol) is pure, `payload` decodes, `connection` is the broker, `driver` reads."""
