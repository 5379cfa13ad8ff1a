"""A folder that other programs put CSV files into: `state` is how far each was read, `files` and `piece` read on."""
