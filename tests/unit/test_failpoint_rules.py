"""Failpoints: nothing when off, the n-th hit when armed, and nonsense refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streams import failpoints
from streams.errors import UsageError
from streams.failpoints import Failpoint, arm, installed, reach
from streams.settings import load_settings

KNOWN = ["notify", "count"]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    assert failpoints._hooks == []
    yield
    failpoints._hooks.clear()


def test_a_hook_hears_of_every_point_until_it_is_gone() -> None:
    heard: list[Failpoint] = []
    with installed(heard.append):
        reach(Failpoint.FLUSHED)
        reach(Failpoint.COMMITTED)
    reach(Failpoint.FLUSHED)

    assert heard == [Failpoint.FLUSHED, Failpoint.COMMITTED]


def test_what_a_hook_raises_comes_out_and_it_is_gone_afterwards() -> None:
    def fail(point: Failpoint) -> None:
        raise ValueError(point)

    with pytest.raises(ValueError, match="flushed"), installed(fail):
        reach(Failpoint.FLUSHED)
    reach(Failpoint.FLUSHED)


def test_the_environment_names_the_hit_that_counts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("streams.failpoints.time.sleep", slept.append)
    monkeypatch.setenv(failpoints.VARIABLE, "flushed=sleep:5s@2; count/flushed=sleep:1s")

    arm("notify", KNOWN)
    for _ in range(3):
        reach(Failpoint.FLUSHED)
        reach(Failpoint.COMMITTED)

    assert slept == [5.0]
    assert capfd.readouterr().err == f"failpoint flushed hit 2 in {os.getpid()}: sleep 5\n"


def test_rules_of_another_processor_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "count/flushed=kill;")

    arm("notify", KNOWN)
    reach(Failpoint.FLUSHED)

    assert failpoints._hooks == []


@pytest.mark.parametrize("action", ["kill", "kill@2", "kill+10ms@1"])
def test_a_kill_is_a_sigkill_that_leaves_a_line(action: str) -> None:
    program = (
        "import time\nfrom streams.failpoints import Failpoint, arm, reach\narm('notify', ['notify'])\n"
        "reach(Failpoint.FLUSHED)\nreach(Failpoint.FLUSHED)\ntime.sleep(20)"
    )
    environment = {**os.environ, failpoints.VARIABLE: f"flushed={action}"}

    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == -signal.SIGKILL
    assert re.match(rf"failpoint flushed hit {2 if '2' in action else 1} in \d+: kill", run.stderr)


@pytest.mark.parametrize(
    "nonsense",
    ["flushed", "flush=kill", "flushed=die", "flushed=sleep", "flushed=kill@0", "flushed=kill@x", "flushed=kill+2"],
)
def test_nonsense_is_refused(nonsense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, f"committed=kill;{nonsense}")

    with pytest.raises(UsageError) as refused:
        arm("notify", KNOWN)

    assert "duration" in str(refused.value) or ("polled" in str(refused.value) and nonsense in str(refused.value))


def test_an_unknown_processor_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "notfy/flushed=kill")

    with pytest.raises(UsageError, match="notify, count"):
        arm("notify", KNOWN)


def test_settings_know_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "flushed=kill")

    assert load_settings()
