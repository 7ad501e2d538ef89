"""Lines of the compressed text files that stories load; what a line means is the loaders' business."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streams.errors import UsageError


class Line(NamedTuple):
    """One line of a file: `number` counts from 1, `raw` are its bytes without the line end."""

    file: str
    number: int
    raw: bytes


class BadLine(NamedTuple):
    """A line that does not parse: its bytes as they were, for a dead letter, and the reason."""

    file: str
    line_number: int
    raw: bytes
    reason: str


def bad(line: Line, reason: object) -> BadLine:
    """Refuse a line for a reason."""
    return BadLine(line.file, line.number, line.raw, str(reason))


def lines(path: Path) -> Iterator[Line]:
    r"""Read a gzip file line by line; `\n`, `\r` and `\r\n` end a line, and empty lines are left out.

    Raises:
        UsageError: The file is missing, unreadable, or not whole.
    """
    try:
        # latin-1 maps every byte to a character and back, so the bytes of a line survive the text layer.
        with io.TextIOWrapper(gzip.open(path), encoding="latin-1") as text:
            for number, line in enumerate(text, start=1):
                if raw := line.removesuffix("\n").encode("latin-1"):
                    yield Line(path.name, number, raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"cannot read {path.name}: {error}",
            where=str(path),
            fix="point --data at a folder that holds the file, whole and compressed with gzip",
        ) from error


def write(path: Path, content: bytes) -> None:
    """Write a gzip file whose bytes depend on the content alone."""
    path.write_bytes(gzip.compress(content, mtime=0))
