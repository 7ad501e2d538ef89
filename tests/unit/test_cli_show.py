"""Tables hold what records hold, and a terminal does nothing but print it."""

from __future__ import annotations

import pytest

from streams.cli.options import Output
from streams.cli.show import plain, show


def test_a_cell_is_never_taken_for_markup_or_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"message": "[/red] [bold]x[/bold] \x1b[31m\x07 größer :smile:", "n": None}], Output.TABLE)
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "[/red]",
        "[bold]x[/bold]",
        "\\x1b[31m\\x07",
        "größer",
        ":smile:",
        "-",
    ]


def test_lines_and_tabs_stay() -> None:
    assert plain("a\n\tb\r\x9b") == "a\n\tb\\x0d\\x9b"
