"""Who is on an M-Bus segment: by primary address, and by secondary address with wildcards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from edge.drivers.mbus import frames
from edge.drivers.mbus.asking import Address, MeterAwayError, fetch
from edge.drivers.mbus.bus import Bus, NoiseError, SilenceError
from edge.drivers.mbus.line import Speed
from edge.drivers.mbus.profile import fitting_profiles
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.status import condition_of
from edge.drivers.mbus.telegram import Telegram

PRIMARY = range(frames.LAST_PRIMARY + 1)
_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMbusMeter:
    """Who answered. `address` as it was asked: primary or secondary; `identity` where it said who it is.

    `profiles` that fit it, the best first. `remarks`: what a person should look into.
    """

    address: Address
    identity: SecondaryAddress | None = None
    profiles: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An address that was asked, and who answered; None where nobody did, or where several do and more is asked."""

    address: Address
    found: FoundMbusMeter | None = None


async def scan_primary(bus: Bus, *, speed: Speed, timeout_s: float, addresses: range = PRIMARY) -> AsyncIterator[Asked]:
    """Each primary address in turn; one that is silent costs the timeout. Raises LineDownError."""
    for address in addresses:
        heard = await _hear(bus, frames.reset(address), address, speed=speed, timeout_s=timeout_s)
        yield Asked(address=address, found=None if heard is None else _found(address, heard))


async def scan_secondary(
    bus: Bus, *, speed: Speed, timeout_s: float, within: SecondaryAddress | None = None
) -> AsyncIterator[Asked]:
    """All meters; where several answer at once, digit by digit of their numbers. Raises LineDownError.

    A meter alone on the segment is found with the first question. `within` narrows the search. One that speaks so much
    louder than others that these are not heard hides them; the search by primary address finds those too.
    """
    waiting = [within or SecondaryAddress()]
    while waiting:
        mask = waiting.pop()
        heard = await _select(bus, mask, speed=speed, timeout_s=timeout_s)
        if isinstance(heard, str) and "F" in mask.number:
            yield Asked(address=mask)
            waiting += [_with_digit(mask, digit) for digit in reversed(_DIGITS)]
        elif isinstance(heard, Telegram):
            yield Asked(address=mask, found=_found(heard.identity or mask, heard))
        else:
            yield Asked(address=mask, found=None if heard is None else _found(mask, heard))


async def _select(bus: Bus, mask: SecondaryAddress, *, speed: Speed, timeout_s: float) -> Telegram | str | None:
    """As `_hear`. Answers that lie upon each other may look like that of a meter that is not: it is called by name."""
    heard = await _hear(bus, frames.select(mask.encode()), mask, speed=speed, timeout_s=timeout_s)
    if not isinstance(heard, Telegram) or heard.identity is None or not heard.identity.is_certain:
        return heard
    identity = heard.identity
    again = await _hear(bus, frames.select(identity.encode()), identity, speed=speed, timeout_s=timeout_s)
    return again or f"{identity} answered, and not when it was called by that name"


def _with_digit(mask: SecondaryAddress, digit: str) -> SecondaryAddress:
    """The same with its first open digit decided."""
    number = mask.number.replace("F", digit, 1)
    return SecondaryAddress(number=number, maker=mask.maker, version=mask.version, medium=mask.medium)


async def _hear(
    bus: Bus, greeting: bytes, address: Address, *, speed: Speed, timeout_s: float
) -> Telegram | str | None:
    """The first telegram of whoever answers the greeting; why there is none; or None where nobody says anything."""
    async with bus.held(speed, timeout_s=timeout_s) as held:
        try:
            await held.exchange(greeting, may_be_silent=True)
        except SilenceError:
            return None
        except NoiseError:
            # Several acknowledged, not quite at once. Perhaps one of them is louder.
            pass
        try:
            return await fetch(held, address, number=0)
        except MeterAwayError as error:
            return str(error).partition(";")[0]


def _found(address: Address, heard: Telegram | str) -> FoundMbusMeter:
    if isinstance(heard, str):
        same = "address" if isinstance(address, int) else "number"
        way = "; by secondary address they can be told apart" if isinstance(address, int) else ""
        remark = f"somebody answers, and can't be read ({heard}); several meters with the same {same}{way}?"
        return FoundMbusMeter(address=address, remarks=(remark,))
    identity = heard.identity
    profiles = [] if identity is None else fitting_profiles(identity, heard.records, folder=Path())
    return FoundMbusMeter(
        address=address,
        identity=identity,
        profiles=tuple(profile.name for profile in profiles),
        remarks=condition_of(heard.status).remarks,
    )
