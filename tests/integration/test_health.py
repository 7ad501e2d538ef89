"""Health of real workers: stuck, silent, idle and busy ones, over HTTP, in words and in numbers."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from live.app import HANG, HOG, RAISE
from live.workers import PATIENCE, Command, Live
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.integration

BOUND = 3.0  # seconds of stall_after
SLACK = 8.0  # to notice: snapshots, requests, a machine that is busy
QUICK = {"STREAMS_STALL_AFTER": f"{BOUND:.0f}s"}


def ask(worker: Command, path: str) -> tuple[int, str]:
    found = re.search(r"http://[\d.]+:\d+", worker.log())
    assert found, worker.log()
    connection = HTTPConnection(urlsplit(found[0]).netloc, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def wait_for(what: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def unhealthy(worker: Command) -> dict[str, Any] | None:
    status, body = ask(worker, "/healthz")
    return json.loads(body) if status == 503 else None


@contextmanager
def running(live: Live, *processors: str, **settings: str) -> Iterator[Command]:
    """Run workers until the block ends; those that hang do not drain, and the second signal kills them."""
    chosen = [argument for name in processors for argument in ("-p", name)]
    with live.run("worker", live.target, *chosen, environment={**QUICK, **settings}) as worker:
        try:
            worker.await_log("http://")
            wait_for(lambda: ask(worker, "/readyz")[0] == 200)
            yield worker
        finally:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                worker.end(signal.SIGTERM)


def run(live: Live, *arguments: str, code: int) -> str:
    with live.run(*arguments, environment=QUICK) as command:
        output = command.output.read().decode()
        assert command.wait(PATIENCE) == code, output + command.log()
    return output


def test_a_handler_that_hangs_turns_health_red_and_is_named(live: Live) -> None:
    live.deploy("copy")
    with running(live, "copy") as worker:
        live.send([live.item("a", 0)])
        live.settle("copy")
        assert ask(worker, "/healthz")[0] == 200
        live.send([live.item("stuck", 1, HANG), live.item("stuck", 2)])
        sent = time.monotonic()
        answer = wait_for(lambda: unhealthy(worker), BOUND + SLACK)
        print(f"red after {time.monotonic() - sent:.1f} s")
        assert time.monotonic() - sent >= BOUND
        (problem,) = answer["problems"]
        assert (problem["group"], problem["topic"]) == (f"{live.name}.copy", live.topic("items"))
        assert problem["key"] == "'stuck'"
        assert "handler copy at live/app.py:" in problem["what"]
        assert ask(worker, "/livez")[0] == 200
        words = run(live, "why", live.target, "-p", "copy", code=1)
        assert f"{live.name}.copy: NOT healthy" in words
        assert "handler copy at live/app.py:" in words
        assert f"offset {problem['offset']}, key 'stuck'" in words
        frame = run(live, "top", live.target, "-p", "copy", "--once", code=0)
        assert "handler copy" in frame


def test_a_worker_that_holds_the_interpreter_does_not_answer(live: Live) -> None:
    live.deploy("copy")
    with running(live, "copy") as worker:
        live.send([live.item("a", 0, HOG)])
        answer = wait_for(lambda: unhealthy(worker), BOUND + SLACK)
        assert "has not answered for" in answer["problems"][0]["what"]


def test_the_command_ends_after_a_bounded_time_without_progress(live: Live) -> None:
    live.deploy("copy", "skip")
    with running(live, "copy", "skip", STREAMS_STALL_EXIT="3s") as worker:
        live.send([live.item("stuck", 0, HANG)])
        assert worker.wait(3 + SLACK + 10) == 7
        said = worker.log().rpartition("error:")[2]
        assert re.search(rf"{live.name}\.(copy|skip): {live.topic('items')}\[\d\] finished nothing for \d+ s", said)
        assert "offset 0, key 'stuck'" in said
        assert "handler" in said


def test_metrics_go_on_over_a_restart_and_words_are_good(live: Live) -> None:
    """`follow` reads what `copy` writes in transactions: behind their markers nothing is left either."""
    live.deploy("copy", "follow")
    with running(live, "copy", "follow") as worker:
        live.send([live.item(f"{n}", n, RAISE if n == 7 else "") for n in range(100)])
        live.settle("copy")
        live.settle("follow")
        wait_for(lambda: total(worker, "streams_records_processed", "processed") == 99 + 99)
        before = metrics(worker)
        os.kill(json.loads(ask(worker, "/healthz")[1])["workers"][0]["pid"], signal.SIGKILL)
        wait_for(lambda: total(worker, "streams_worker_restarts") == 1)
        live.send([live.item(f"{n}", n) for n in range(10)])
        live.settle("copy")
        live.settle("follow")
        wait_for(lambda: total(worker, "streams_records_processed", "processed") == 109 + 109)
        after = metrics(worker)
        counters = [where for where in before if where[0].endswith("_total") or "_seconds_" in where[0]]
        assert len(counters) > 10
        assert [where for where in counters if after[where] < before[where]] == []
        wait_for(lambda: total(worker, "kafka_consumergroup_current_offset") == ends(worker) > 0)
        assert total(worker, "kafka_consumergroup_lag") == 0
        assert total(worker, "streams_lag_seconds") == 0
        assert total(worker, "streams_dlq") == 1
        assert (
            run(live, "why", live.target, "-p", "copy", "-p", "follow", code=0).count("healthy, nothing left to do")
            == 2
        )
        assert "NOT" not in run(live, "why", f"{live.name}.copy", code=0)


def test_from_kafka_alone(live: Live) -> None:
    live.deploy("copy")
    live.send([live.item("a", 0)])
    words = run(live, "why", live.target, "-p", "copy", code=1)
    assert "1 records wait" in words
    assert "start a worker" in words
    assert "none" in run(live, "top", live.target, "-p", "copy", "--once", code=0)


def test_a_taken_port_ends_the_command(live: Live) -> None:
    live.deploy("copy")
    with running(live, "copy") as first:
        port = re.search(r"http://[\d.]+:(\d+)", first.log())
        assert port
        with live.run("worker", live.target, "-p", "copy", "--health-port", port[1]) as second:
            assert second.wait(PATIENCE) == 2
            assert "cannot listen" in second.log()


def metrics(worker: Command) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = ask(worker, "/metrics")[1]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(worker: Command, name: str, outcome: str | None = None) -> float:
    return sum(
        value
        for (found, labels), value in metrics(worker).items()
        if found in {name, f"{name}_total"} and outcome in {None, dict(labels).get("outcome")}
    )


def ends(worker: Command) -> float:
    return total(worker, "kafka_topic_partition_current_offset")
