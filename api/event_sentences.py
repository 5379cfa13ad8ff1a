"""An event as a technician reads it, in English and Danish: what was found, and what is done about it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from api.event_store import Event
from api.indicators.wording import Text
from schemas.events import Decision, EventKind, EventState
from schemas.quantities import to_decimal
from schemas.resources import MeterKind

_NAMES = {
    EventKind.EXCHANGE: Text("an exchange", "en målerudskiftning"),
    EventKind.ROLLOVER: Text("a rollover", "et gennemløb"),
    EventKind.DIP: Text("a dip", "et dyk"),
    EventKind.RESET: Text("a reset", "en nulstilling"),
    EventKind.SPIKE: Text("a spike", "et udsving"),
    EventKind.FROZEN: Text("a register that stood still", "et tælleværk, der stod stille"),
    EventKind.GAP: Text("a gap", "et hul"),
    EventKind.EXPORT: Text("values below zero", "værdier under nul"),
}
_DONE = {
    Decision.SET_ASIDE: Text(
        "These readings are set aside, as if they had not come.",
        "Disse aflæsninger er lagt til side, som var de ikke kommet.",
    ),
    Decision.RESET: Text(
        "It is taken to have begun again at zero: what it shows since then counts, and what it counted just before is"
        " unknown.",
        "Det regnes for begyndt forfra ved nul: det, som det viser siden da, tæller med, og det, som det talte lige"
        " før, er ukendt.",
    ),
    Decision.ROLLOVER: Text(
        "It is taken to have passed its width and gone on from zero.",
        "Det regnes for at være løbet rundt og fortsat fra nul.",
    ),
    Decision.RESTART: Text(
        "It goes on from its new value; what was used just before that is unknown.",
        "Det fortsætter fra sin nye værdi; forbruget lige før den er ukendt.",
    ),
    Decision.UNDECIDED: Text(
        "These readings are set aside until later ones tell what it was.",
        "Disse aflæsninger er lagt til side, indtil senere viser, hvad det var.",
    ),
    Decision.COUNT: Text("These readings count as they stand.", "Disse aflæsninger tæller med, som de er."),
}
_DONE_OF_KIND = {
    (EventKind.FROZEN, Decision.COUNT): Text("That counts as no consumption.", "Det tæller som intet forbrug."),
    (EventKind.FROZEN, Decision.SET_ASIDE): Text(
        "That is not believed; the consumption of that time is unknown.",
        "Det regnes ikke for rigtigt; forbruget i den tid er ukendt.",
    ),
    (EventKind.GAP, Decision.COUNT): Text(
        "The total is kept, spread evenly over that time and marked estimated.",
        "Summen er beholdt, fordelt jævnt over den tid og mærket som anslået.",
    ),
    (EventKind.GAP, Decision.RESTART): Text(
        "The total of that time is not believed; what was used is unknown.",
        "Summen for den tid regnes ikke for rigtig; forbruget er ukendt.",
    ),
    (EventKind.EXPORT, Decision.COUNT): Text("They count as negative consumption.", "De tæller som negativt forbrug."),
    (EventKind.EXCHANGE, Decision.COUNT): Text(
        "Readings from then on are the new meter's.", "Aflæsninger derfra er den nye målers."
    ),
}


def tell_event(event: Event, zone: ZoneInfo) -> Text:
    """What was found and what is done about it. Instants are told as clocks at the site showed them."""
    if event.decision is None:
        name = _NAMES[event.kind]
        return _span(event, zone) + Text(
            f": {name.en} was decided here once; the rules find none, and it was taken back.",
            f": her blev der engang afgjort {name.da}; reglerne finder intet, og det er taget tilbage.",
        )
    return _found(event, zone) + Text(" ", " ") + _done(event, event.decision)


def _found(event: Event, zone: ZoneInfo) -> Text:
    what = (
        Text("The register", "Tælleværket") if event.meter_kind == MeterKind.COUNTER else Text("The value", "Værdien")
    )
    span = _span(event, zone)
    value, until_value = _amount(event, event.value), _amount(event, event.until_value)
    before, after = _amount(event, event.before_value), _amount(event, event.after_value)
    is_one = event.at == event.until
    match event.kind:
        case EventKind.EXCHANGE:
            found = Text("The meter was exchanged", "Måleren blev udskiftet")
            if value and until_value:
                found += Text(": the old one ended at ", ": den gamle sluttede på ") + value
                found += Text(", the new one began at ", ", den nye begyndte på ") + until_value
        case EventKind.GAP:
            found = Text("Nothing was heard of the meter", "Intet blev hørt fra måleren")
            if value and until_value and event.meter_kind == MeterKind.COUNTER:
                found += Text("; the register went from ", "; tælleværket gik fra ") + value
                found += Text(" to ", " til ") + until_value
        case EventKind.FROZEN:
            found = what + Text(" stood still", " stod stille")
            found += Text(" at ", " på ") + value if value else Text("", "")
        case EventKind.EXPORT:
            found = what + Text(" was below zero", " var under nul")
            found += Text(", at first ", ", først ") + value if value else Text("", "")
        case EventKind.SPIKE:
            found = what + _jump(event)
        case EventKind.DIP:
            found = what + Text(" fell", " faldt") + _from_to(before, value)
            found += Text(" and came back to ", " og kom tilbage til ") + after if after else Text("", "")
        case EventKind.RESET:
            found = (
                what + Text(" fell", " faldt") + _from_to(before, value) + Text(" and stayed low", " og forblev lavt")
            )
        case EventKind.ROLLOVER:
            found = what + Text(" passed its width", " løb rundt") + _from_to(before, value)
    if not is_one and event.readings and event.kind is not EventKind.GAP:
        found += Text(f" ({event.readings} readings)", f" ({event.readings} aflæsninger)")
    return span + Text(": ", ": ") + found + Text(".", ".")


def _jump(event: Event) -> Text:
    value, until_value = _amount(event, event.value), _amount(event, event.until_value)
    if value and until_value and _is_set_aside_by_hand(event):
        found = Text(" showed ", " viste ") + value
        found += Text(" to ", " til ") + until_value if event.at != event.until else Text("", "")
        return found + Text(", which a person holds to be wrong", ", hvilket en person anser for forkert")
    before, after = _amount(event, event.before_value), _amount(event, event.after_value)
    found = Text(" jumped", " sprang") + _from_to(before, value)
    return found + Text(" and was back at ", " og var tilbage på ") + after if after else found


def _is_set_aside_by_hand(event: Event) -> bool:
    """Whether nothing but a person's word is against the readings: they lie between their neighbours."""
    values = [event.before_value, event.value, event.until_value, event.after_value]
    known = [value for value in values if value is not None]
    return event.state is EventState.CONFIRMED and known == sorted(known)


def _done(event: Event, decision: Decision) -> Text:
    if event.kind is EventKind.GAP and event.meter_kind != MeterKind.COUNTER:
        return Text("The consumption of that time is unknown.", "Forbruget i den tid er ukendt.")
    done = _DONE_OF_KIND.get((event.kind, decision), _DONE[decision])
    quantity = _quantity(event)
    if quantity is None:
        return done
    return done + Text(f" {quantity.en} counts for it.", f" {quantity.da} tæller med for det.")


def _from_to(first: Text | None, second: Text | None) -> Text:
    found = Text(" from ", " fra ") + first if first else Text("", "")
    return found + Text(" to ", " til ") + second if second else found


def _span(event: Event, zone: ZoneInfo) -> Text:
    first, last = _clock(event.at, zone), _clock(event.until, zone)
    return Text(first, first) if event.at == event.until else Text(f"{first} to {last}", f"{first} til {last}")


def _clock(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"


def _amount(event: Event, value: float | None) -> Text | None:
    return None if value is None else _number(Decimal(repr(value)), event.unit)


def _quantity(event: Event) -> Text | None:
    """What counts for the event; None while the roll-up has yet to go by the decision."""
    if event.quantity is None or event.applied is not event.decision:
        return None
    exact = to_decimal(event.quantity)
    return _number(round(exact, 3) if abs(exact) >= 1 else exact, event.canonical_unit)


def _number(value: Decimal, unit: str) -> Text:
    digits = format(value, "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return Text(f"{digits} {unit}", f"{digits.replace('.', ',')} {unit}")
