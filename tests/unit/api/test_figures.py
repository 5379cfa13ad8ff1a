"""Names of figures: made, read, refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.calendar.clock import Period
from api.figures import Figure, FigureError, FigureKind, digest, figure_id, parse_figure
from api.periods import Days

ZONE = ZoneInfo("Europe/Copenhagen")
YEAR = Days(first=date(2025, 1, 1), end=date(2026, 1, 1))
TEXT = "intensity:shaft:energy:fully_loaded:2025-01-01:2026-01-01"


def name(**changes) -> str:
    values = {
        "kind": "intensity",
        "by": "product",
        "of": "shaft",
        "resource": "energy",
        "measure": "fully_loaded",
        "period": YEAR,
        "rests_on": [674_400_000_000, None, "line_meter", Fraction(1, 3)],
    }
    return figure_id(**{**values, **changes})


def test_a_name_is_readable():
    assert name().startswith(f"{TEXT}:v=")
    assert name(period=YEAR.within(ZONE)) == name()
    hours = Period(
        start=datetime(2025, 1, 1, 6, tzinfo=UTC), end=datetime(2025, 1, 1, 7, 15, 30, 5000, tzinfo=UTC), zone=ZONE
    )
    assert name(period=hours).startswith("intensity:shaft:energy:fully_loaded:20250101T0600Z:20250101T071530005Z:v=")
    assert name(
        kind="decoupling",
        by="site",
        of=None,
        measure="state",
        base=Days(first=date(2024, 1, 1), end=date(2025, 1, 1)),
        options={"driver": "revenue", "basis": "market"},
    ).startswith(
        "decoupling:site:energy:state:2025-01-01:2026-01-01:base=2024-01-01..2025-01-01:basis=market:driver=revenue:v="
    )
    assert ":order=A~3A12~2F~C3~A6:" in name(by="order", of="A:12/æ")
    assert ":product=site:" in name(of="site")


def test_the_digest_changes_with_what_the_figure_rests_on():
    one = name().rpartition("=")[2]
    assert one != name(rests_on=[674_400_000_001, None, "line_meter", Fraction(1, 3)]).rpartition("=")[2]
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest([["a"], "b"]) != digest([["a", "b"]])
    with pytest.raises(TypeError, match="no stable form"):
        digest([object()])


def test_a_name_is_read_without_its_digest():
    figure = parse_figure(TEXT)
    assert (figure.kind, figure.by, figure.of, figure.version) == (FigureKind.INTENSITY, "product", "shaft", None)
    assert figure.period(ZONE) == YEAR.within(ZONE)


moments = st.tuples(st.dates(date(1990, 1, 1), date(2199, 1, 1)), st.integers(1, 500)).map(
    lambda pair: (pair[0], pair[0] + timedelta(days=pair[1]))
)
instants = st.tuples(
    st.datetimes(datetime(1990, 1, 1), datetime(2199, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(1, 10**9),
).map(
    lambda pair: (
        (at := pair[0].replace(microsecond=pair[0].microsecond // 1000 * 1000, tzinfo=UTC)),
        at + timedelta(milliseconds=pair[1]),
    )
)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@given(st.sampled_from(["product", "line", "order"]), texts, texts, moments | instants, st.none() | moments, texts)
def test_what_is_made_is_read(by, of, resource, span, base, option):
    figure = Figure(
        kind=FigureKind.DECOMPOSITION,
        by=by,
        of=of,
        resource=resource,
        measure="mix",
        start=span[0],
        end=span[1],
        base=base,
        options={"driver": option},
        version="0123abcd",
    )
    assert parse_figure(str(figure)) == figure


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it lacks parts"),
        ("intensity:shaft:energy", "it lacks parts"),
        (TEXT.replace("intensity", "beauty"), "'beauty' is no kind of figure; there are intensity, decoupling"),
        (TEXT.replace("shaft", ""), "'' is empty or has characters"),
        (TEXT.replace("shaft", "line="), "'' is empty or has characters"),
        (TEXT.replace("shaft", "sh/aft"), "'sh/aft' is empty or has characters"),
        (TEXT.replace("shaft", "~FF"), "not readable"),
        (TEXT.replace("2025-01-01", "2025-02-30"), "not in the calendar"),
        (TEXT.replace("2025-01-01", "0001-01-01"), "must lie in the years"),
        (TEXT.replace("2025-01-01", "January"), "neither a day"),
        (TEXT.replace("2025-01-01", "20250101T0600Z"), "not both days or both instants"),
        (TEXT.replace("2025-01-01", "2026-01-01"), "is not after"),
        (TEXT + ":v=12", "not eight hexadecimal digits"),
        (TEXT + ":driver", "is not name=value"),
        (TEXT + ":driver=a:driver=b", "is there twice"),
        (TEXT + ":base=2024", "base=2024 is no period"),
        (TEXT + ":base=2024-01-01..2023-01-01", "is not after"),
        (TEXT + ":x=" + "y" * 500, "500 characters at most"),
    ],
)
def test_what_names_no_figure_is_told(text, message):
    with pytest.raises(FigureError, match=message):
        parse_figure(text)
