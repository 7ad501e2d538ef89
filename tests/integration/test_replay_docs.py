"""The commands of docs/replay.md run as they stand there, with the names of a test's app."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from live.workers import Live

from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

DOCUMENT = Path(__file__).parents[2] / "docs" / "replay.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_commands_of_the_document_run(live: Live) -> None:
    live.deploy("copy")
    live.send([live.item("a", 1)])
    live.admin.create_topics([TopicSpec(live.topic("repaired"), 1, {})])
    names = {"shop.orders:app": live.target, "orders.ship": f"{live.name}.copy", "ship": "copy"}
    names["orders.repaired"] = live.topic("repaired")
    ran = 0
    for line in commands():
        words = [names.get(word, word) for word in shlex.split(line.split(" > ")[0], comments=True)]
        assert words.pop(0) == "streams"
        with live.run(*words) as command:
            command.output.read()
            assert command.wait(60) == 0, f"{line}\n{command.log()}"
        ran += 1
    print(f"{ran} commands ran")
    assert ran > 3
