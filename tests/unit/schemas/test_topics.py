"""Topics and the keys in them."""

from __future__ import annotations

import pytest

from schemas.topics import ForeignTopicError, alerts_topic, is_alerts_topic, parse_topic


@pytest.mark.parametrize("key", ["a\n", "A", "", "-a", "x" * 64])
@pytest.mark.parametrize("place", [2, 3, 4])
def test_a_part_that_is_no_key_is_refused(key, place):
    parts = ["afkobling", "v1", "acme", "odense", "cabinet", "readings"]
    parts[place] = key
    with pytest.raises(ForeignTopicError, match="is not a key"):
        parse_topic("/".join(parts))


def test_alerts_of_a_site_are_no_agent_s_message():
    topic = alerts_topic("acme", "odense")
    assert topic == "afkobling/v1/acme/odense/alerts"
    assert is_alerts_topic(topic)
    with pytest.raises(ForeignTopicError):
        parse_topic(topic)
    # An agent may have that name.
    assert parse_topic(f"{topic}/readings")[0].agent == "alerts"
    for other in (f"{topic}/readings", "afkobling/v2/acme/odense/alerts", "afkobling/v1/acme/odense/readings"):
        assert not is_alerts_topic(other)
