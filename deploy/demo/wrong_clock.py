"""`python -m deploy.demo.wrong_clock CONFIG MILLISECONDS`: an agent whose clock is ahead by so much, for the faults."""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main(config: str, ahead_ms: str) -> int:
    """Run the agent until it is stopped."""
    from deploy.commands.settings import environment_with_stack
    from deploy.logs import configure_logs
    from edge.agent import run
    from edge.configuration import load_configuration

    configuration = load_configuration(Path(config), environment_with_stack())
    configure_logs("edge")
    ahead = int(ahead_ms)
    return run(configuration, until_stored=False, now_ms=lambda: time.time_ns() // 1_000_000 + ahead)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
