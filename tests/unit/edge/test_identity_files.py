"""The agent's files change together or not at all, and edge.yaml keeps what its owner wrote."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from edge.enrolment import identity as files
from edge.enrolment.identity import AgentIdentity, IdentityError, held, install, keep_aside, read_identity
from edge.enrolment.writing import wanted, write_configuration

DAY_MS = 86_400_000
ME = AgentIdentity(
    organisation="acme",
    site="hall",
    agent="cabinet-1",
    server="http://here:8080",
    broker="mqtts://here:8883",
    issued_at=0,
    not_after=90 * DAY_MS,
)


def texts(which: str) -> dict[str, str]:
    me = ME.model_copy(update={"agent": which}).model_dump_json()
    return {"key.pem": which, "certificate.pem": which, "authority.pem": which, "identity.json": me}


def contents(folder: Path) -> set[str]:
    found = {(folder / name).read_text("utf-8") for name in ("key.pem", "certificate.pem", "authority.pem")}
    who = read_identity(folder)
    return found | ({who.agent} if who else set())


def test_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with held(folder):
        install(folder, texts("one"))
    assert contents(folder) == {"one"}
    with held(folder):
        aside = keep_aside(folder, stamp="then")
        install(folder, texts("two"))
    assert contents(folder) == {"two"}
    assert aside is not None
    assert contents(aside) == {"one"}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*.pem")} == {0o600}
    assert aside.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("cut_at", range(7))
def test_power_lost_at_any_moment_leaves_one_whole_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    with held(tmp_path):
        install(tmp_path, texts("one"))
    left = [cut_at]
    replace = Path.replace

    def until_the_cut(self: Path, target: Path) -> Path:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", until_the_cut)
        with pytest.raises(KeyboardInterrupt), held(tmp_path):
            install(tmp_path, texts("two"))
    files.finish(tmp_path)
    found = contents(tmp_path)
    # Four files are written, the folder is renamed, and then the files move to their places.
    assert found == ({"one"} if cut_at < 5 else {"two"})
    with held(tmp_path):
        install(tmp_path, texts("three"))
    assert contents(tmp_path) == {"three"}


def test_a_folder_that_is_none_and_files_that_are_damaged_are_told(tmp_path: Path) -> None:
    assert read_identity(tmp_path) is None
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(IdentityError, match="cannot be written"), held(tmp_path / "file"):
        pass
    (tmp_path / "identity.json").write_text("{}", "utf-8")
    with pytest.raises(IdentityError, match="is damaged"):
        read_identity(tmp_path)


@pytest.mark.parametrize(("day", "is_due"), [(0, False), (59, False), (60, True), (89, True), (91, True)])
def test_it_is_renewed_in_the_last_third(day: int, *, is_due: bool) -> None:
    assert ME.is_due(day * DAY_MS) is is_due


def test_a_configuration_is_made_where_there_is_none(tmp_path: Path) -> None:
    config = tmp_path / "edge.yaml"
    written = write_configuration(config, wanted(ME, tmp_path, config))
    assert written.changed == ("organisation", "site", "agent", "broker", "tls")
    found = yaml.safe_load(config.read_text("utf-8"))
    assert found == {
        "organisation": "acme",
        "site": "hall",
        "agent": "cabinet-1",
        "broker": "mqtts://here:8883",
        "tls": {"authority": "authority.pem", "certificate": "certificate.pem", "key": "key.pem"},
    }
    assert write_configuration(config, wanted(ME, tmp_path, config)).changed == ()


OWN = """\
# hall 3, behind the press
organisation: acme # ours
site: "hall"
agent: old-name        # the second one
outbox: {max_size: 1GB}
drivers:
  # do not touch
  - {name: oven, driver: replay, path: x.csv}
"""


def test_only_the_lines_that_are_wrong_or_missing_change(tmp_path: Path) -> None:
    config = tmp_path / "edge.yaml"
    config.write_text(OWN, "utf-8")
    written = write_configuration(config, wanted(ME, tmp_path / "else where", config))
    assert written.changed == ("agent", "broker", "tls")
    text = config.read_text("utf-8")
    kept = [line for line in OWN.splitlines() if not line.startswith("agent")]
    assert [line for line in text.splitlines() if line in kept] == kept
    assert "agent: cabinet-1        # the second one\n" in text
    assert yaml.safe_load(text)["tls"]["key"] == str(tmp_path / "else where" / "key.pem")
    assert (tmp_path / "edge.yaml.before-enrolment").read_text("utf-8") == OWN


def test_a_copy_is_as_private_as_what_it_is_of(tmp_path: Path) -> None:
    config = tmp_path / "edge.yaml"
    config.write_text("broker: mqtts://me:secret@here\n", "utf-8")
    config.chmod(0o640)
    write_configuration(config, wanted(ME, tmp_path, config))
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "edge.yaml": 0o640,
        "edge.yaml.before-enrolment": 0o640,
    }


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that others may go through, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led where others may not go")
@pytest.mark.parametrize("link", [".identity-lock", "key.pem", ".edge.yaml-new", "edge.yaml.before-enrolment"])
def test_no_link_leads_root_out_of_somebody_elses_folder(open_folder: Path, link: str) -> None:
    secret, folder = open_folder / "secret", open_folder / "of the agent"
    secret.write_text("for root only", "utf-8")
    secret.chmod(0o600)
    folder.mkdir()
    config = folder / "edge.yaml"
    config.write_text("agent: x\n", "utf-8")
    (folder / link).symlink_to(secret)
    for path in (folder, config):
        os.chown(path, 65534, 65534)
    with contextlib.suppress(IdentityError), held(folder):
        keep_aside(folder, stamp="then")
        install(folder, texts("one"))
    with contextlib.suppress(OSError):
        write_configuration(config, wanted(ME, folder, config))
    with held(folder / "new"):
        pass
    assert (secret.read_text("utf-8"), secret.stat().st_uid, os.geteuid()) == ("for root only", 0, 0)
    theirs = [path for path in folder.rglob("*") if not path.is_symlink()]
    assert {path.stat().st_uid for path in theirs} == {65534}
    assert "for root only" not in {path.read_text("utf-8") for path in theirs if path.is_file()}


@pytest.mark.parametrize(
    "text",
    [
        OWN + "tls:\n  authority: a.pem\n",
        "{organisation: acme}\n",
        OWN + "  - broken: [\n",
        "&a agent: x\n",
    ],
    ids=["block", "one line", "broken", "anchor"],
)
def test_what_cannot_be_changed_with_care_is_left_to_a_person(tmp_path: Path, text: str) -> None:
    config = tmp_path / "edge.yaml"
    config.write_text(text, "utf-8")
    written = write_configuration(config, wanted(ME, tmp_path, config))
    assert config.read_text("utf-8") == text
    assert written.changed == ()
    assert any(line.startswith("tls: {") for line in written.to_write)
