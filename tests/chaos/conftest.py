"""What is shared by the tests here says in full what it found."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.chaos.plant", "tests.e2e.processes")
