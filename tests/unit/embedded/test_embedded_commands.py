import json
from pathlib import Path

import pytest

from streams.cli import cluster as commands
from streams.errors import UnreachableError


def test_status_prints_json_and_is_an_error_where_nothing_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreachableError, match="registry is stopped, kafka is stopped") as caught:
        commands.status(tmp_path, commands.Output.JSON)
    assert caught.value.fix == "streams up"
    shown = json.loads(capsys.readouterr().out)
    assert shown["running"] is False
    assert [server["name"] for server in shown["servers"]] == ["registry", "kafka"]


def test_down_says_that_nothing_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.down(tmp_path)
    assert capsys.readouterr().err == f"nothing runs in {tmp_path}\n"
