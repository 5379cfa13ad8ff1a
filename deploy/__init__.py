"""How the parts are put together: the `afkobling` command, the local stack, the demo, the benches."""
