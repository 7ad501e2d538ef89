"""What the driver in memory leaves behind: no folder, no open file, no chatter, and the log as it was."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from rig import Appended, Item, Items

from streams import App, Context
from streams.testing import Abort, Crash, Failpoint
from streams.testing.folder import Folder

app = App("traces")
inputs = app.topic("in", Item, key="key", partitions=2)
out = app.topic("out", Appended, key="key", partitions=2)
lists = app.store("lists", str, Items)
_log = structlog.get_logger(__name__)


@app.processor(inputs, to=out)
def keep(item: Item, ctx: Context) -> Appended:
    _log.info("handler", n=item.n)
    ctx.put(lists, item.key, Items(items=(item.n,)))
    if item.n < 0:
        raise ValueError(item.n)
    return Appended(key=item.key, n=item.n, size=1)


@pytest.fixture
def plain_log() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("plain_log")
def test_the_toolkit_says_warnings_alone_and_the_handlers_whatever_they_like(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with app.test(workers=2) as driver:
        driver.inject(Crash())
        driver.inject(Abort(), at=Failpoint.FLUSHED)
        driver.send(inputs, Item(key="a", n=1), Item(key="a", n=-1))
        assert not structlog.is_configured()
    told = capsys.readouterr().out
    assert [word in told for word in ("handler", "record failed", "transaction aborted")] == [True] * 3
    assert [word in told for word in ("assigned", "running", "revoked")] == [False] * 3


@pytest.mark.usefixtures("plain_log")
def test_a_log_that_is_configured_shows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure()
    with app.test() as driver:
        driver.send(inputs, Item(key="a", n=1))
    assert "assigned" in capsys.readouterr().out
    assert structlog.is_configured()


@pytest.mark.usefixtures("plain_log")
def test_what_a_handler_configures_stays() -> None:
    other = App("other")
    source = other.topic("in", Item, key="key")
    processors = [structlog.processors.JSONRenderer()]

    @other.processor(source)
    def configure(_item: Item, _ctx: Context) -> None:
        structlog.configure(processors=processors)

    with other.test() as driver:
        driver.send(source, Item(key="a", n=1))
    assert structlog.get_config()["processors"] is processors
    assert isinstance(structlog.get_config()["logger_factory"], structlog.PrintLoggerFactory)


def test_no_file_stays_open_and_no_folder_stays() -> None:
    def use() -> Path:
        with app.test(workers=2) as driver:
            driver.inject(Crash(), at=Failpoint.FLUSHED)
            driver.send(inputs, Item(key="a", n=1))
            return driver.cluster.folder

    use()
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [use().exists() for _ in range(5)] == [False] * 5
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_driver_that_nobody_closes_leaves_nothing() -> None:
    driver = app.test()
    driver.send(inputs, Item(key="a", n=1))
    folder = driver.cluster.folder
    assert folder.exists()
    del driver
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_a_process_leaves_is_removed_by_the_next_at_the_latest(end: str, tmp_path: Path) -> None:
    code = f"import os, signal, sys; from pathlib import Path; from streams.testing.folder import Folder; \
f = Folder(Path({str(tmp_path)!r})); print(f.path, flush=True); {end}"
    alive = Folder(tmp_path)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = Path(ended.stdout.strip())
    assert left.parent == tmp_path
    assert left.exists() == (ended.returncode == -signal.SIGKILL)

    Folder(tmp_path)
    assert not left.exists()
    assert alive.path.exists()
