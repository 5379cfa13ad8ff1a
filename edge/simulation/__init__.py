"""A simulated metal workshop that knows its own truth. Pure: time comes in as arguments; needs numpy."""
