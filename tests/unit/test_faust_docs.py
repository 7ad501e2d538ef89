"""docs/faust.md: the Faust app runs too, in a process of its own, for Faust leaves an event loop open."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from streams.cli import app
from streams.settings import Settings

TEXT = (Path(__file__).parents[2] / "docs" / "faust.md").read_text()


def test_the_faust_app_of_the_document_does_what_ours_does() -> None:
    faust, ours = (re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) for kind in ("py", "python"))
    assert (len(faust), len(ours)) == (1, 1)
    for snippet in (*faust, *ours):
        program = f"{snippet}\ntest_who_is_named_is_told()\nprint('told')\n"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "told\n", done.stderr
        assert done.returncode == 0, done.stderr


def test_the_commands_of_the_document_exist() -> None:
    usage = CliRunner(env={"TERM": "dumb", "COLUMNS": "200"}).invoke(app, ["worker", "--help"]).output
    (block,) = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    options = set(re.findall(r"--[a-z-]+", block))
    assert options == {"--engine", "--processor"}
    assert all(option in usage for option in options)
    assert "engine" in Settings.model_fields
