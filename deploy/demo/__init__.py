"""The demo: a factory on the local stack, from its meters to a verdict, through every real part."""
