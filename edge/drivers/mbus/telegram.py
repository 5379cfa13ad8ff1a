"""What a meter tells: the records of a telegram of variable data structure (EN 13757-3), all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import islice

from edge.drivers.mbus.frames import APPLICATION_ERROR, Frame
from edge.drivers.mbus.meanings import (
    FIRST_EXTENSION,
    MAKERS_OWN,
    PLAIN_TEXT,
    SECOND_EXTENSION,
    SECOND_TABLE,
    Meaning,
    Measure,
    correction_of,
    is_record_error,
    meaning_of,
)
from edge.drivers.mbus.numbers import VARIABLE, WIDTHS, decode_number, variable_width
from edge.drivers.mbus.secondary import SecondaryAddress

_LONG_HEADER, _SHORT_HEADER, _NO_HEADER = 0x72, 0x7A, 0x78
_OTHER_FORMS = {
    0x73: "the fixed data structure of very old meters",
    0x76: "bytes with the most significant first",
    0x77: "the fixed data structure of very old meters",
}
_ERRORS = {
    0: "an error of its own",
    1: "that it does not know the request",
    2: "that the telegram is too long",
    3: "that there are too many records",
    4: "that a record ended too early",
    8: "that it is busy",
    9: "that it was read too often",
}
_ENCRYPTED = {5, 7, 8, 9, 10, 13}
_IDLE, _REST, _REST_AND_MORE = 0x2F, 0x0F, 0x1F
_MOST_EXTENSIONS = 10


class TelegramError(ValueError):
    """A frame without fault whose content can't be read; nothing of it may be used."""


class Function(StrEnum):
    """What kind of value a record has."""

    INSTANTANEOUS = "instantaneous"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    ERROR = "error"
    """A value while the meter is in an error state."""


_FUNCTIONS = tuple(Function)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One value. `storage` 0 is now; above are stored ones, of due dates and the like. `value` is in `unit`, exactly.

    `vife` are the extensions that say what else the value is (of one phase, only of one direction, at base conditions),
    without those that only multiply. A value that the meter itself says to be none is None.
    """

    meaning: Meaning
    value: Decimal | None
    function: Function = Function.INSTANTANEOUS
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    vife: tuple[int, ...] = ()

    @property
    def is_useful(self) -> bool:
        """A value of now, of something that a resource can be made of."""
        now = self.function is Function.INSTANTANEOUS and self.storage == 0
        return now and self.value is not None and self.meaning.measure is not Measure.OTHER

    def __str__(self) -> str:
        """As a profile would say it."""
        said = [f"{name} {value}" for name in ("storage", "tariff", "subunit") if (value := getattr(self, name))]
        said += [f"vife [{', '.join(f'{code:#04x}' for code in self.vife)}]"] if self.vife else []
        said += [] if self.function is Function.INSTANTANEOUS else [self.function.value]
        return self.meaning.measure.value + (f" ({', '.join(said)})" if said else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telegram:
    """`identity` where the telegram has it. `more_follows`: the meter has another telegram."""

    identity: SecondaryAddress | None
    access: int | None
    status: int
    records: tuple[Record, ...]
    more_follows: bool


def decode_telegram(frame: Frame) -> Telegram:
    """Raises TelegramError, which says what could be done."""
    data = frame.data
    if frame.information == APPLICATION_ERROR:
        code = data[0] if data else 0
        raise TelegramError(f"the meter reports {_ERRORS.get(code, f'error {code}')}")
    if frame.information in _OTHER_FORMS:
        raise TelegramError(f"the meter uses {_OTHER_FORMS[frame.information]}, which is not known here")
    identity: SecondaryAddress | None = None
    if frame.information == _LONG_HEADER:
        if len(data) < 12:
            raise TelegramError(f"a telegram's head has 12 bytes; {len(data)} came")
        identity, data = SecondaryAddress.decode(data[:8]), data[8:]
    access, status = None, 0
    if frame.information in {_LONG_HEADER, _SHORT_HEADER}:
        if len(data) < 4:
            raise TelegramError(f"a telegram's head has 4 bytes; {len(data)} came")
        if data[3] & 0x1F in _ENCRYPTED and data[2] >> 4:
            raise TelegramError("the telegram is encrypted; ask the supplier to switch that off for the wire")
        access, status, data = data[0], data[1], data[4:]
    elif frame.information != _NO_HEADER:
        raise TelegramError(f"a telegram of a kind that is not known here ({frame.information:#04x})")
    more_follows = False
    records: list[Record] = []
    for record in _records(_Bytes(data)):
        if isinstance(record, bool):
            more_follows = record
        else:
            records.append(record)
    return Telegram(identity=identity, access=access, status=status, records=tuple(records), more_follows=more_follows)


class _Bytes:
    """Bytes taken from the front. Raises TelegramError when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise TelegramError(f"the telegram ends within a record, {count - len(taken)} bytes too early")
        self._at += count
        return taken

    def extensions(self) -> list[int]:
        """Bytes as long as the one before has its extension bit set."""
        found: list[int] = []
        while not found or found[-1] & 0x80:
            if len(found) == _MOST_EXTENSIONS:
                raise TelegramError("a record has more than ten extensions")
            found.append(self.byte())
        return found


def _records(data: _Bytes) -> Iterator[Record | bool]:
    """The records; then, where the meter says it, whether more follows in a telegram behind this one."""
    while data:
        dif = data.byte()
        if dif == _IDLE:
            continue
        if dif in {_REST, _REST_AND_MORE}:
            yield dif == _REST_AND_MORE
            return
        if dif & 0x0F == 0x0F:
            raise TelegramError(f"a record begins with {dif:#04x}, which does not exist")
        yield _record(dif, data)


def _record(dif: int, data: _Bytes) -> Record:
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    for i, dife in enumerate(data.extensions() if dif & 0x80 else ()):
        storage |= (dife & 0x0F) << (1 + 4 * i)
        tariff |= (dife >> 4 & 0x03) << (2 * i)
        subunit |= (dife >> 6 & 0x01) << i
    meaning, vife = _value_information(data)
    field = dif & 0x0F
    raw = data.take(1) if field == VARIABLE else data.take(WIDTHS[field])
    if field == VARIABLE:
        try:
            raw += data.take(variable_width(raw[0]))
        except ValueError as error:
            raise TelegramError(str(error)) from error
    number = decode_number(field, raw)
    exponent = meaning.exponent
    others: list[int] = []
    failed = False
    codes = iter(vife)
    for code in codes:
        if code & 0x7F == MAKERS_OWN:
            others += [code, *codes]
            break
        if code & 0x7F == SECOND_TABLE:
            others += [code, *islice(codes, 1)]
            continue
        correction = correction_of(code)
        exponent += correction or 0
        failed |= is_record_error(code)
        if correction is None and code & 0x7F:
            others.append(code)
    return Record(
        meaning=meaning,
        value=None if number is None or failed else number.scaleb(exponent),
        function=_FUNCTIONS[dif >> 4 & 0x03],
        storage=storage,
        tariff=tariff,
        subunit=subunit,
        vife=tuple(code & 0x7F for code in others),
    )


def _value_information(data: _Bytes) -> tuple[Meaning, list[int]]:
    """What the value means, and the extensions behind that."""
    vif = data.byte()
    if vif in {FIRST_EXTENSION, SECOND_EXTENSION}:
        code = data.byte()
        return meaning_of(code, extension=vif), data.extensions() if code & 0x80 else []
    if vif & 0x7F == PLAIN_TEXT:
        # The unit in words, which stand before the extensions.
        data.take(data.byte())
    return meaning_of(vif), data.extensions() if vif & 0x80 else []
