"""The pure maths of registers: from readings to consumption. Knows no clock, database or log."""
