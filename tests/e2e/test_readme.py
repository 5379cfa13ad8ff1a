"""The README's commands, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.parts import free_port
from tests.integration.collector.conftest import query, wait_for

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README asks the API with curl, which is not here")
def test_a_first_live_value_comes_by_the_commands_of_the_readme(
    tmp_path: Path, database_url: str, broker_url: str
) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) == 3, "the README tells it in three steps: set up, start, look"
    port = free_port()
    set_up, start, look = (block.replace("8080", str(port)) for block in blocks)
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": broker_url,
        # The session's broker may hold what other tests published; a clean session takes only what comes now.
        "AFKOBLING_SHARE_GROUP": "readme",
    }
    where: dict[str, Any] = {"cwd": tmp_path, "env": environment}
    done = subprocess.run(["bash", "-ec", set_up], capture_output=True, text=True, timeout=120, check=False, **where)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            ["bash", "-ec", f"{start}\nwait"], stdout=log, stderr=log, start_new_session=True, **where
        )
    try:

        def values() -> list[Any]:
            asked = subprocess.run(["bash", "-c", look], capture_output=True, text=True, check=False, **where)
            return [item["value"] for item in json.loads(asked.stdout)["items"]] if asked.stdout else [None]

        wait_for(lambda: None not in values(), "a live value of every meter", seconds=90)
    except AssertionError:
        print((tmp_path / "log").read_text("utf-8", errors="replace"))
        raise
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(30)
    assert query(database_url, "SELECT sum(quarantined) FROM ledger WHERE organisation = 'acme'") == [(0,)]
