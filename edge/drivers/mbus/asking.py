"""Asks one meter for what it tells: reset or selection, then telegram by telegram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.drivers.mbus import frames
from edge.drivers.mbus.bus import Bus, Held, NoiseError, SilenceError
from edge.drivers.mbus.line import LineDownError, Speed
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.telegram import Telegram, TelegramError, decode_telegram
from edge.errors import EdgeTransientError

MOST_TELEGRAMS = 16

Address = int | SecondaryAddress
"""A primary address, or a secondary one."""


class MeterAwayError(EdgeTransientError):
    """No answer, or none that could be used; the message says what to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A telegram, and when it came (Unix milliseconds UTC)."""

    at_ms: int
    telegram: Telegram


async def ask(
    bus: Bus,
    address: Address,
    *,
    speed: Speed,
    timeout_s: float,
    now_ms: Callable[[], int],
    enough: Callable[[Sequence[Told]], bool],
) -> list[Told]:
    """What the meter tells, until it has no more to tell or `enough` holds; at least one telegram.

    Frames with faults, answers of others and what can't be decoded are never used. When telegrams after the first
    fail, those before stand. Raises MeterAwayError, and LineDownError when there is no connection.
    """
    async with bus.held(speed, timeout_s=timeout_s) as held:
        await begin(held, address)
        told: list[Told] = []
        while len(told) < MOST_TELEGRAMS:
            try:
                telegram = await fetch(held, address, number=len(told))
            except (MeterAwayError, LineDownError):
                if not told:
                    raise
                break
            last = told[-1].telegram if told else None
            if last is not None and (telegram.identity != last.identity or telegram.records == last.records):
                # A stranger; or a meter that always says that more follows, and tells the same again.
                break
            told.append(Told(at_ms=now_ms(), telegram=telegram))
            if not telegram.more_follows or enough(told):
                break
        return told


async def begin(held: Held, address: Address) -> None:
    """The meter begins with its first telegram, or is selected. Raises MeterAwayError."""
    if isinstance(address, int):
        request, what = frames.reset(address), f"address {address}"
    else:
        request, what = frames.select(address.encode()), f"secondary address {address}"
    try:
        answer = await held.exchange(request)
    except SilenceError as error:
        raise MeterAwayError(f"{error}: check {what}, baud, wiring and the converter's power") from error
    except NoiseError as error:
        raise MeterAwayError(_noisy(address, str(error))) from error
    if answer != frames.ACK:
        raise MeterAwayError(_noisy(address, "a frame came where a meter only acknowledges"))


async def fetch(held: Held, address: Address, *, number: int) -> Telegram:
    """The telegram of that number, from 0. Raises MeterAwayError."""
    primary = address if isinstance(address, int) else frames.SELECTED
    try:
        answer = await held.exchange(frames.request(primary, telegram=number))
    except SilenceError as error:
        raise MeterAwayError(f"{error} to a request for data; try a longer timeout") from error
    except NoiseError as error:
        raise MeterAwayError(_noisy(address, str(error))) from error
    if answer == frames.ACK:
        raise MeterAwayError("it has no data at present; it is asked again")
    try:
        frame = frames.parse_long(answer)
        telegram = decode_telegram(frame)
    except frames.FrameError as error:
        raise MeterAwayError(_noisy(address, str(error))) from error
    except TelegramError as error:
        raise MeterAwayError(str(error)) from error
    stranger = _stranger(address, frame, telegram)
    if stranger is not None:
        raise MeterAwayError(_noisy(address, f"{stranger} answered"))
    return telegram


def _stranger(address: Address, frame: frames.Frame, telegram: Telegram) -> str | None:
    """Who answered in place of the one who was asked."""
    if not frame.answers:
        return f"no meter but another master (control field {frame.control:#04x})"
    if isinstance(address, int):
        return None if frame.address == address else f"the meter with address {frame.address}"
    identity = telegram.identity
    return None if identity is None or address.covers(identity) else f"the meter {identity}"


def _noisy(address: Address, what: str) -> str:
    several = "no two meters have this address" if isinstance(address, int) else "only one meter fits this address"
    return f"{what}; if this goes on, check that {several}, baud and parity, and the wiring"
