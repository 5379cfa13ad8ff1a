"""The demo: a factory on the local stack, from its meters to a verdict, through every real part."""

DATABASE = "afkobling_demo"
"""The demo's own database, beside the stack's."""
