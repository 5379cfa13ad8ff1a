"""Bulk import of history: files read in pieces, converted whole columns at a time, written by the rules of ingest."""
