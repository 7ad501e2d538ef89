"""Where the time of a step goes, without Kafka: CPU microseconds a record, the best of many rounds.

    python benchmarks/stages.py [--stage NAME] [--rounds N]

Only the thread's own CPU time counts, so that other load on the machine matters little. `around` is what the whole step
takes beside decoding, handlers and encoding: keys, records, marks, the clock, and that everything is alive at once.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from io import BytesIO

import harness
from events import Headline, Post
from fastavro import parse_schema, schemaless_writer
from ours import SOURCE, build

from streams import Context
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.record import RawRecord, Record
from streams.state.task_state import TaskState
from streams.task import Task

RECORDS = 500
ROUNDS = 100
WHOLE = "whole step"


def batch() -> list[RawRecord]:
    """Return posts as they are polled."""
    schema = parse_schema(harness.POST)
    records: list[RawRecord] = []
    for offset, post in enumerate(harness.posts(RECORDS)):
        out = BytesIO()
        out.write(b"\0\0\0\0\1")
        schemaless_writer(out, schema, post)
        records.append(Record(SOURCE, post["author"].encode(), out.getvalue(), harness.FIRST_MS, 0, offset))
    return records


def cost(run: Callable[[], object], rounds: int) -> float:
    """Return the least CPU time of a call, in microseconds a record."""
    least = float("inf")
    for _ in range(rounds):
        before = time.thread_time()
        run()
        least = min(least, time.thread_time() - before)
    return least * 1e6 / RECORDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=["decode", "handler", "encode", WHOLE], help="measure this one alone")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    records = batch()
    [processor] = build("stages", "headlines").select([])
    decoder, encoder = Codec(Post), Codec(Headline, 2)
    decoder.learn(1, schema_of(Post).text)
    state = TaskState()
    task, context = Task(processor, {SOURCE: decoder, "headlines": encoder}, state), Context(state, processor.group)
    frames = [record.value for record in records if record.value is not None]
    posts = decoder.decode(frames)
    made = [processor.handler(post, context) for post in posts]
    headlines = [headline for headline in made if headline is not None]
    gc.freeze()  # as the supervisor does for every worker
    gc.set_threshold(50_000, 20, 20)
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: decoder.decode(frames),
        "handler": lambda: [processor.handler(post, context) for post in posts],
        "encode": lambda: encoder.encode(headlines),
        WHOLE: lambda: task.step(records, lambda: time.monotonic() < 0, 0),
    }
    costs = {name: cost(run, chosen.rounds) for name, run in stages.items() if chosen.stage in {None, name}}
    if len(costs) > 1:
        costs["around"] = 2 * costs[WHOLE] - sum(costs.values())
    for name, taken in costs.items():
        print(f"{name:12} {taken:6.2f} us/record")


if __name__ == "__main__":
    main()
