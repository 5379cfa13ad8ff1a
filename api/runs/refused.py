"""Rows that were refused, as a file that can be mended and read again."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from api.runs.mapping import RunMapping
from api.runs.rows import Refusal, RunFile

_COLUMNS = ("refused line", "refused because")


def refused_text(read: RunFile, refused: Sequence[Refusal], mapping: RunMapping) -> str:
    """The head of the file, and these rows as they stand, with their line and the reason in two more columns."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=mapping.delimiter, lineterminator="\n")
    *before, header = read.head
    writer.writerows(before)
    width = max(len(header), *(len(refusal.row.cells) for refusal in refused))
    writer.writerow([*_padded(header, width), *_COLUMNS])
    for refusal in refused:
        writer.writerow([*_padded(refusal.row.cells, width), refusal.row.line, refusal.reason])
    return text.getvalue()


def _padded(cells: Sequence[str], width: int) -> list[str]:
    return [*cells, *[""] * (width - len(cells))]
