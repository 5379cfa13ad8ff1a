"""Where the archive stands: a folder, or an S3-compatible store, behind one kind of file system.

    /var/lib/afkobling/archive      file:///var/lib/afkobling/archive
    s3://bucket/prefix              s3://bucket/prefix?endpoint_override=minio.local:9000&scheme=http&region=eu-north-1

Keys of a store come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, …), never from the address.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from schemas.errors import AfkoblingError, PermanentError, TransientError

_CONNECT_SECONDS, _REQUEST_SECONDS, _ATTEMPTS = 5, 30, 2
_OPTIONS = frozenset({"endpoint_override", "region", "scheme"})
_TAIL_BYTES, _MARK = 8, b"PAR1"
_SCHEMES = "an absolute path, file:///…, or s3://bucket/prefix"


class ArchiveError(AfkoblingError):
    """The archive can't be read, so nobody can say what a span of time holds."""


class ArchiveAwayError(ArchiveError, TransientError):
    """The store does not answer, or is not mounted: the same will work once it is back."""


class ArchiveDamagedError(ArchiveError, PermanentError):
    """A file that counts is missing or is not what was written: bring it back from a copy."""


class ArchiveAddressError(ArchiveError, PermanentError):
    """The archive's address is none; the message says how to write it."""


def open_store(url: str) -> tuple[fs.FileSystem, str]:
    """The file system of an address, and the archive's root in it; nothing is looked at yet.

    Raises ArchiveAddressError for an address that is none.
    """
    if url.startswith("/"):
        return fs.LocalFileSystem(), url.rstrip("/") or "/"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ArchiveAddressError(f"not an address of an archive: {error}; write {_SCHEMES}") from None
    match parts.scheme:
        case "file" if parts.path.startswith("/") and parts.netloc in {"", "localhost"}:
            return fs.LocalFileSystem(), unquote(parts.path).rstrip("/") or "/"
        case "s3" if parts.netloc:
            return _open_s3(parts.netloc, parts.path, parts.query)
    raise ArchiveAddressError(f"not an address of an archive: {url!r}; write {_SCHEMES}")


def footer_digest(file: Any) -> bytes:
    """SHA-256 of an opened file's footer, with its length and the mark that it ends in.

    To be compared before the footer is parsed: nothing else tells what a disk made of it since, and over some of what
    that could be Arrow ends the process. Raises ArchiveDamagedError for what is no Parquet file.
    """
    size = int(file.size())
    end = file.read_at(min(size, _TAIL_BYTES), max(size - _TAIL_BYTES, 0))
    length = int.from_bytes(end[:4], "little") + _TAIL_BYTES
    if len(end) < _TAIL_BYTES or end[4:] != _MARK or length > size:
        raise ArchiveDamagedError("it is no Parquet file, or was cut off")
    return hashlib.sha256(file.read_at(length, size - length)).digest()


def _open_s3(bucket: str, path: str, query: str) -> tuple[fs.FileSystem, str]:
    if "@" in bucket:
        raise ArchiveAddressError(
            "keys don't belong into the archive's address, which the database keeps; "
            "put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ArchiveAddressError(f"{unknown[0]!r} is no option of s3://; these are: {', '.join(sorted(_OPTIONS))}")
    if options.get("scheme", "https") not in {"http", "https"}:
        raise ArchiveAddressError(f"scheme={options['scheme']}: write http or https")
    store = fs.S3FileSystem(
        **options,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
    return store, f"{bucket}/{unquote(path).strip('/')}".rstrip("/")
