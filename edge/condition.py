"""How the agent is: what it tells the server with each status, and whoever stands in front of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.certificate import Validity, read_validity
from edge.clock import ClockOffset, is_synchronised
from edge.configuration import EdgeConfiguration
from edge.counters import Counters
from edge.last_readings import silent_meters
from edge.local_status import (
    BrokerStatus,
    ClockStatus,
    LocalStatus,
    MeterState,
    MeterStatus,
    OutboxStatus,
)
from edge.outbox import Outbox
from schemas.wire import ConfigurationState, Health, OfferedMeter

_LARGEST_SKEW_MS = 60_000
_LEAST_FREE_BYTES = 100_000_000
_MOST_PROBLEMS = 50
_LONGEST_LINE = 500
_MOST_SILENT = 1_000
_NAMED = 5


class Condition:
    """Over all restarts of the stages. Asked from any thread; noted in the event loop."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        counters: Counters,
        version: str,
        now_ms: Callable[[], int],
        told: Callable[[], ConfigurationState | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told`: which configuration the agent runs; None where it can't be changed from afar."""
        self._outbox = outbox
        self._counters = counters
        self._version = version
        self._now_ms = now_ms
        self._told = told
        self._clock = clock
        self._started_ms = now_ms()
        self._offset = ClockOffset()
        self._validity: Validity | None = None
        self._read_of: tuple[Path, int] | None = None
        self._stored_ms: int | None = None
        self._configuration: EdgeConfiguration | None = None
        self._offers: Sequence[OfferedMeter] = ()
        self._since_s = clock()

    def begin(self, configuration: EdgeConfiguration, offers: Sequence[OfferedMeter]) -> None:
        """From now on these meters are read."""
        self._configuration = configuration
        self._offers = offers
        self._since_s = self._clock()
        self._counters.last.keep_only({offer.meter for offer in offers})

    def note_connecting(self) -> None:
        """The certificate that stands there now is the one in use."""
        if self._configuration is not None:
            self._validity = self._read(self._configuration.tls.certificate)

    def _read(self, certificate: Path | None) -> Validity | None:
        try:
            changed = None if certificate is None else (certificate, certificate.stat().st_mtime_ns)
        except OSError:
            changed = None
        if changed != self._read_of:
            self._read_of = changed
            return read_validity(certificate)
        return self._validity

    def note_stored(self, *, said_ms: int | None) -> None:
        """The collector confirmed something; `said_ms` is its clock then, where it was surely just now."""
        now_ms = self._now_ms()
        self._stored_ms = now_ms
        if said_ms is not None:
            self._offset.note(said_ms=said_ms, heard_ms=now_ms, steady_s=self._clock())

    def told(self) -> ConfigurationState | None:
        """Which configuration it runs."""
        return self._told()

    def health(self) -> Health:
        """What the status says, within its bounds."""
        silent = self._silent()
        return Health(
            problems=[_line(problem) for problem in self._problems(silent)[:_MOST_PROBLEMS]],
            silent_meters=silent[:_MOST_SILENT],
            started_at=self._started_ms,
            certificate_until=None if self._validity is None else self._validity.until_ms,
            clock_ahead_ms=self._offset.ahead_ms,
            disk_free_bytes=self._disk_free_bytes(),
        )

    def problems(self) -> list[str]:
        """What is wrong, each with what to do about it; none when all is well."""
        return self._problems(self._silent())

    def local_status(self) -> LocalStatus:
        """All that somebody in front of it may want to know."""
        silent = self._silent()
        outbox = self._outbox
        state = outbox.state()
        now_ms = self._now_ms()
        oldest_s = outbox.oldest_s()
        return LocalStatus(
            running=True,
            at=now_ms,
            agent="" if self._configuration is None else str(self._configuration.address),
            version=self._version,
            started_at=self._started_ms,
            broker=BrokerStatus(
                address="" if self._configuration is None else str(self._configuration.broker),
                connected=self._counters.is_online,
                reason=None if self._counters.is_online else self._counters.why_offline,
            ),
            outbox=OutboxStatus(
                messages=state.waiting,
                readings=outbox.waiting_readings,
                bytes=outbox.size_bytes,
                limit_bytes=outbox.max_bytes,
                oldest_at=now_ms - round(oldest_s * 1000) if state.waiting else None,
                dropped_readings=state.dropped_readings,
                stored_at=self._stored_ms,
            ),
            clock=ClockStatus(ahead_ms=self._offset.ahead_ms, synchronised=is_synchronised()),
            certificate_until=None if self._validity is None else self._validity.until_ms,
            configuration=self._told() or ConfigurationState(),
            disk_free_bytes=self._disk_free_bytes(),
            meters=self._meters(set(silent)),
            problems=self._problems(silent),
        )

    def _meters(self, silent: set[str]) -> list[MeterStatus]:
        last = self._counters.last.all()
        found = []
        for offer in self._offers:
            heard = last.get(offer.meter)
            state = MeterState.WAITING if heard is None else MeterState.READING
            found.append(
                MeterStatus(
                    meter=offer.meter,
                    driver=offer.driver,
                    state=MeterState.SILENT if offer.meter in silent else state,
                    value=None if heard is None else heard.reading.value,
                    unit=offer.unit if heard is None else heard.reading.unit,
                    at=None if heard is None else heard.reading.at_ms,
                    cadence_ms=offer.cadence_ms,
                )
            )
        return found

    def _silent(self) -> list[str]:
        return silent_meters(self._offers, self._counters.last.all(), since_s=self._since_s, now_s=self._clock())

    def _problems(self, silent: Sequence[str]) -> list[str]:
        found = self._counters.problems()
        if silent:
            names = ", ".join(silent[:_NAMED]) + (f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else "")
            found.append(
                f"nothing for three times the cadence from {len(silent)} of {len(self._offers)} meters ({names}): "
                "check their power, cable and address; the log says what the driver meets"
            )
        ahead_ms = self._offset.ahead_ms
        if ahead_ms is not None and abs(ahead_ms) > _LARGEST_SKEW_MS:
            side = "ahead of" if ahead_ms > 0 else "behind"
            found.append(
                f"this machine's clock is {abs(ahead_ms) / 1000:.0f} s {side} the collector's: have it set by the "
                "network (`timedatectl set-ntp true`; `timedatectl status` shows whether it is)"
            )
        if self._validity is not None and not self._counters.has_obstacle("certificate"):
            expiring = self._validity.problem(self._now_ms())
            found += [expiring] if expiring else []
        free = self._disk_free_bytes()
        if free is not None and free < _LEAST_FREE_BYTES:
            found.append(
                f"only {free // 1_000_000} MB are free where the outbox is: make room, or the outbox cannot grow when "
                "broker or collector are away"
            )
        return found

    def _disk_free_bytes(self) -> int | None:
        folder = Path() if self._configuration is None else self._configuration.outbox.path.parent
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            return None


def _line(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"
