"""The archive in an S3-compatible store that answers on this machine."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pytest
from pyarrow import fs

from collector.archive.checking import check_file
from collector.archive.files import list_files
from collector.archive.parquet import rows_of_file
from collector.archive.restoring import restore
from collector.archive.store import ArchiveStore
from collector.connection import connect
from deploy.demo.parts import free_port
from schemas.archive_store import ArchiveError
from tests.integration.collector.archive_site import NOW, START, archive_all, in_table, prepare, settings
from tests.integration.collector.conftest import wait_for

pytestmark = pytest.mark.stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    process: subprocess.Popen[bytes]
    url: str


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-this-test")
    # Nobody is asked who we are.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    port = free_port()
    place = f"127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"http://{place}/moto-api/", timeout=2).close()
        except OSError:
            return False
        return True

    try:
        wait_for(answers, "the store")
        made = fs.S3FileSystem(endpoint_override=place, scheme="http", region="eu-north-1", allow_bucket_creation=True)
        made.create_dir("plant")
        yield Server(
            process=process, url=f"s3://plant/old readings?endpoint_override={place}&scheme=http&region=eu-north-1"
        )
    finally:
        process.kill()
        process.wait(10)


def test_into_a_store_and_back(database_url: str, server: Server) -> None:
    prepare(database_url, days=10)
    given = settings(database_url, server.url, archive_merge_files=2, archive_grace="1h")
    with connect(database_url, role="archive") as connection:
        truth = in_table(connection)
        done = archive_all(connection, given)
        assert (done.chunks, done.problems) == (2, [])
        assert done.merged == 4
        assert "of-this-test" not in str(connection.execute("SELECT url FROM archive_progress").fetchall())
        store = ArchiveStore(server.url)
        files = list(list_files(connection))
        assert [damage for file in files for damage in check_file(store, file)] == []
        found: Counter[tuple[int, int, float, int]] = Counter()
        for file in files:
            for rows in rows_of_file(store, file.path, file.sha256):
                columns = (rows.meter_id, rows.at_us, rows.value, rows.quality)
                found.update(zip(*(column.tolist() for column in columns), strict=True))
        assert found == truth
        store.remove(files[0].path)
        assert [damage.problem for damage in check_file(store, files[0])] == ["is missing"]
        back = restore(
            connection,
            store,
            start=START,
            end=NOW,
            site_id=None,
            keep=timedelta(0),
            grace=timedelta(0),
        )
        assert (back.files, len(back.problems)) == (len(files) - 1, 1)
        hot = in_table(connection)
        server.process.kill()
        server.process.wait(10)
        with pytest.raises((ArchiveError, OSError)):
            archive_all(connection, given)
        assert in_table(connection) == hot
        with psycopg.connect(database_url) as other:
            assert other.execute("SELECT count(*) FROM archive_file WHERE restored_at IS NULL").fetchone() == (1,)
