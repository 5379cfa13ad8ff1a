"""`afkobling rollup run` with a clock that runs faster, so that quarters close while a short test looks on.

Arguments: an instant of the real clock, what this one says then (both Unix milliseconds), and how much faster it runs.
"""

from __future__ import annotations

import sys
import time

from collector.rollup_runner import RollupRunner
from collector.settings import RollupSettings
from deploy.service import serve


def main(origin_ms: int, base_ms: int, speed: int) -> None:
    def clock_ms() -> int:
        return base_ms + (time.time_ns() // 1_000_000 - origin_ms) * speed

    runner = RollupRunner(RollupSettings(), clock_ms=clock_ms)
    serve(runner, registry=runner.metrics.registry, port=None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
