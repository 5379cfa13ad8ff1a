"""Meters that speak Modbus: `registers` is pure, `profile` says what they mean, `driver` reads them."""
