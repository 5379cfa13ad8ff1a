"""Topics and the keys in them."""

from __future__ import annotations

import pytest

from schemas.topics import ForeignTopicError, parse_topic


@pytest.mark.parametrize("key", ["a\n", "A", "", "-a", "x" * 64])
@pytest.mark.parametrize("place", [2, 3, 4])
def test_a_part_that_is_no_key_is_refused(key, place):
    parts = ["afkobling", "v1", "acme", "odense", "cabinet", "readings"]
    parts[place] = key
    with pytest.raises(ForeignTopicError, match="is not a key"):
        parse_topic("/".join(parts))
