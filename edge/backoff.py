"""How long to wait before trying again: exponential, capped, with jitter.

The jitter keeps a hall of agents from coming back all at once.
"""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random


class Backoff:
    """A growing wait for one peer. `reset` when it has answered."""

    def __init__(self, *, initial_s: float, cap_s: float) -> None:
        self._wait = wait_exponential(multiplier=initial_s, max=cap_s) + wait_random(0, min(initial_s, cap_s))
        self.reset()

    def reset(self) -> None:
        """The next wait is a short one again."""
        self._attempts = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})

    def next_s(self) -> float:
        """Seconds to wait now; longer each time, up to the cap plus jitter."""
        wait = float(self._wait(self._attempts))
        self._attempts.attempt_number += 1
        return wait
