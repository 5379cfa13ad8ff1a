"""`afkobling rollup run` with a clock that runs faster (`deploy.chaos.clock`).

Arguments: an instant of the real clock, and what this one says then (both Unix milliseconds).
"""

from __future__ import annotations

import sys
import time

from collector.rollup_runner import RollupRunner
from collector.settings import RollupSettings
from deploy.chaos.clock import FastClock
from deploy.service import serve


def main(origin_ms: int, begin_ms: int) -> None:
    """Run until stopped."""
    clock = FastClock(origin_ms=origin_ms, begin_ms=begin_ms)
    runner = RollupRunner(RollupSettings(), clock_ms=lambda: clock.at(time.time_ns() // 1_000_000))
    serve(runner, registry=runner.metrics.registry, port=None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
