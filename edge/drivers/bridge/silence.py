"""Notices devices that have stopped publishing. Pure: whoever asks says what time it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A device that said nothing for too long; or one that speaks, but of these meters has not said a word yet."""

    device: str
    meters: Collection[str]
    speaks: bool


class Silence:
    """Who was heard when. Seconds of one clock; nobody is silent before `begin`."""

    def __init__(self, meters: Mapping[str, Collection[str]], *, after_s: float) -> None:
        """`meters`: of each device."""
        self._meters = {device: set(keys) for device, keys in meters.items()}
        self._unheard = {device: set(keys) for device, keys in meters.items()}
        self._after_s = after_s
        self._due_s: dict[str, float] = {}
        self._review_s = 0.0
        self._spoke: set[str] = set()

    def begin(self, now_s: float) -> None:
        """From now on we listen: what was said before could not be heard."""
        self._due_s = dict.fromkeys(self._meters, now_s + self._after_s)
        self._review_s = now_s + self._after_s
        self._spoke.clear()

    def note(self, device: str, meters: Collection[str], now_s: float) -> None:
        """The device spoke, and these meters had a value."""
        self._due_s[device] = now_s + self._after_s
        self._spoke.add(device)
        self._unheard[device] -= set(meters)

    def due_s(self) -> float:
        """When to look next, after `begin`."""
        return min(self._review_s, *self._due_s.values())

    def look(self, now_s: float) -> list[Silent]:
        """What is to be told now, and after as long once more, unless something is heard."""
        found: list[Silent] = []
        for device, due_s in self._due_s.items():
            if now_s >= due_s:
                self._due_s[device] = now_s + self._after_s
                found.append(Silent(device=device, meters=sorted(self._meters[device]), speaks=False))
        if now_s >= self._review_s:
            self._review_s = now_s + self._after_s
            found += [
                Silent(device=device, meters=sorted(meters), speaks=True)
                for device, meters in self._unheard.items()
                if meters and device in self._spoke
            ]
            self._spoke.clear()
        return found
