"""Dials that a person reads: `entry` and `plausible` are pure, `spool` keeps entries on disk, `driver` takes them."""
