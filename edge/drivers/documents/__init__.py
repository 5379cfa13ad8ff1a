"""Readings in JSON documents, whoever brings these: where in them a value stands, and what it and its time mean."""
