"""Readings older than the retention move into Parquet files, and come back on demand (docs/adr/0009)."""
