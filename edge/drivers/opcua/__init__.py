"""Machines and controllers that speak OPC UA: `values` is pure, `session` is one connection, `driver` keeps it up."""
