"""The command line: messages without tracebacks, suggestions, exit codes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from streams import cli
from streams.errors import (
    FencedError,
    IncompatibleError,
    StoppedError,
    StreamsError,
    UnreachableError,
    UsageError,
)
from streams.kafka.admin import Admin

APP = """
from streams import App, Context
from rig import Item
app = App("shop", settings={"session_timeout": "50s"})
orders = app.topic("orders", Item, key="key")
@app.processor(orders)
def count(item: Item, ctx: Context) -> None: ...
empty = App("empty")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("STREAMS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "cli_shop.py").write_text(APP)
    yield tmp_path
    sys.modules.pop("cli_shop", None)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def ran(*arguments: str) -> tuple[int, str]:
        """Run the command as the shell does; return its exit code and what it said on stderr."""
        monkeypatch.setattr(sys, "argv", ["streams", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        return (code if isinstance(code, int) else 0), said.err

    return ran


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StreamsError("x"), 1),
        (UsageError("x"), 2),
        (UnreachableError("x"), 3),
        (IncompatibleError("x"), 4),
        (FencedError("x"), 5),
        (StoppedError("x"), 6),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(32, "Broken pipe"), 1),
    ],
)
def test_every_error_has_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    failing = typer.Typer(pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", failing)
    monkeypatch.setattr(cli, "entry_points", lambda **_: [])
    assert run()[0] == code


def test_a_message_says_what_where_and_what_to_do(run: Run) -> None:
    code, said = run("worker", "cli_shop:app", "--processor", "cuont")
    assert code == 2
    assert said == "error: app shop has no processor 'cuont'\n  fix:   use one of count\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["worker", "cli_shop"], "does not name an app"),
        (["worker", "no_such_module_here:app"], "cannot be imported"),
        (["worker", "cli_shop:nothing"], "use cli_shop:app"),
        (["worker", "cli_shop:empty"], "has no processor"),
        (["worker", "cli_shop:app", "-X", "linger.sm=1"], "did you mean linger.ms?"),
        (["worker", "cli_shop:app", "-X", "linger.ms"], "there is no value"),
        (["worker", "cli_shop:app", "-X", "acks=1"], "kafka property acks cannot be set"),
        (["worker", "cli_shop:app", "--log-level", "loud"], "log_level"),
        (["worker", "cli_shop:app", "--workers", "0"], "--workers"),
        (["topic", "list"], "`streams up`"),
        (["group", "list"], "`streams up`"),
        (["topic", "list", "-b", "localhost:1", "-X", "socket.timeout.ms=soon"], "socket.timeout.ms"),
        (["workr"], "worker"),
    ],
)
def test_mistakes_of_the_user_end_with_2_and_a_hint(run: Run, arguments: list[str], told: str) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert told in said


def test_a_broker_that_does_not_answer_is_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 1 of this machine refuses at once: no packet leaves it."""
    monkeypatch.setattr(cli.topic, "Admin", lambda settings: Admin(settings, 0.3))
    code, said = run("topic", "list", "-b", "127.0.0.1:1")
    assert code == 3
    assert "127.0.0.1:1" in said


def test_a_command_of_another_package_that_cannot_be_loaded_spares_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name = "broken"

        def load(self) -> None:
            raise ImportError("gone")

    monkeypatch.setattr(cli, "entry_points", lambda **_: [Broken()])
    code, said = run("topic", "--help")
    assert code == 0
    assert "broken" in said
    assert "gone" in said


@pytest.mark.parametrize("command", [[], ["worker"], ["topic"], ["topic", "consume"], ["group"], ["up"], ["schema"]])
def test_help_is_there_without_a_cluster(command: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in re.sub(r"\x1b\[[0-9;]*m", "", result.output)
