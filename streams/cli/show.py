"""Printing data on stdout, as a table for people or as JSON lines for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.cli import pipe
from streams.cli.options import Output


def show(rows: Iterable[Mapping[str, Any]], output: Output) -> None:
    """Print rows that all have the same columns; an empty table says so on stderr."""
    listed = list(rows)
    if output is Output.JSON:
        for row in listed:
            pipe.write(json.dumps(row) + "\n")
        return
    if not listed:
        sys.stderr.write("there is nothing to show\n")
        return
    table = Table(*(name.upper() for name in listed[0]), box=None, pad_edge=False)
    for row in listed:
        table.add_row(*(Text("-" if value is None else plain(str(value))) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def plain(text: str) -> str:
    """Return text that a terminal only prints: a record may hold anything, its escape sequences too."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)
