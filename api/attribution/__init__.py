"""Consumption shared out to products: computed from quarters, kept by local day, and read for any period."""
