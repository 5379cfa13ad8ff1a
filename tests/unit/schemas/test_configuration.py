"""Whatever stands in a file, a person is told what is wrong with it."""

from __future__ import annotations

import pytest

from schemas.configuration import ConfigurationError, parse_configuration
from schemas.site import SiteModel

SITE = "organisation: {id: a}\nsite: {id: b, time_zone: UTC}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("? [a]\n: b\n", "site.yaml:1: not valid YAML: a list or a mapping can't be a name"),
        ("a: 1\n? {a: 1}\n: b\n", "site.yaml:2: not valid YAML: a list or a mapping can't be a name"),
        ("a: " + "[" * 3000, "site.yaml:1: lists and mappings stand too deep in each other"),
        ("a: " + "[" * 3000 + "]" * 3000, "site.yaml:1: lists and mappings stand too deep in each other"),
        ("a: !!int ''", "site.yaml:1: a value does not fit its tag"),
        ("a: !!timestamp x", "site.yaml:1: a value does not fit its tag"),
        ("a: !!bool x", "site.yaml:1: a value does not fit its tag"),
        ('a: "\0"', "site.yaml:1: not valid YAML"),
        ("a: 1\na: 2\n", "site.yaml:2: not valid YAML: 'a' stands twice"),
        (SITE + "products: [{id: p, mass_kg: .inf}]\n", "site.yaml:3: products.0.mass_kg: Input should be a finite"),
        (SITE + 'lines:\n  - {id: p, name: "a\\0"}\n', "site.yaml:4: lines.0.name: holds a character that can't be"),
    ],
)
def test_faults_are_told_and_no_traceback(text, told):
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, name="site.yaml", model=SiteModel)
    assert caught.value.lines[0].startswith(told)
