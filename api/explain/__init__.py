"""From a figure down to the readings that it rests on."""
