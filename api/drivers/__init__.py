"""The economic side: driver values and price indices, given, kept and told."""
