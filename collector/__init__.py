"""From MQTT to TimescaleDB: subscribe, decode, batch, write, roll up. Stored once, proven by the ledger."""
