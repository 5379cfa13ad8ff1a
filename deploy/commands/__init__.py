"""One module a command. At import only argparse is needed; handlers import what they run."""
