"""`streams replay`: past records through the same handler, beside the live group."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from streams.avro.registry import Registry
from streams.cli import pipe
from streams.cli.envelope import Describer
from streams.cli.eta import Eta
from streams.cli.moments import FORMS
from streams.cli.options import AppTarget, BootstrapServers, Properties, RegistryUrl, settings_from
from streams.cli.spans import known_topic, select, spans
from streams.cli.stop import Stop, stoppable
from streams.dlq.groups import MOST_GROUPS, OTHERS, normalised
from streams.errors import EXIT_FAILED, UsageError
from streams.failures.dead_letters import describe
from streams.kafka.admin import Admin, Range
from streams.load import load_app
from streams.preflight import check_topics, smallest_limit
from streams.record import RawRecord, TopicPartition
from streams.replay.handling import Refusal
from streams.replay.job import Parts, group_of, parts_of
from streams.replay.publishing import PublishOutlet
from streams.replay.rerun import Outlet
from streams.replay.run import Hearing, raw_key, replay
from streams.settings import Settings, require
from streams.topology import Processor

_MOST_TOLD = 100  # refused records; the counts say how many there were

Since = Annotated[
    str, typer.Option("--from", metavar="TIME", help=f"Begin at this time: {FORMS}; UTC without an offset.")
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End before this time; by default at the end.")]
ProcessorName = Annotated[str, typer.Option("--processor", metavar="NAME", help="Whose handler.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only records of this key; bytes are written 0x….")]
Publish = Annotated[bool, typer.Option("--publish", help="Publish to the processor's own topics.")]
ToTopic = Annotated[str | None, typer.Option("--to-topic", metavar="TOPIC", help="Publish everything to this topic.")]
Effects = Annotated[bool, typer.Option("--effects", help="Run its effects on the outside world too.")]
JobName = Annotated[
    str | None, typer.Option("--job", metavar="NAME", help="Go on with this job, or begin one of this name.")
]
StateFromStart = Annotated[
    bool, typer.Option("--state-from-start", help="Build its stores from the beginning of the topic.")
]


def command(
    target: AppTarget,
    processor: ProcessorName,
    since: Since,
    until: Until = None,
    key: KeyOption = None,
    publish: Publish = False,
    to_topic: ToTopic = None,
    effects: Effects = False,
    job: JobName = None,
    state_from_start: StateFromStart = False,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Run past records through a processor's handler once more, and print what it gives.

    The live group, its state and its topics are left alone; stores begin empty. Nothing is published unless
    --publish or --to-topic says so; then a replay that was interrupted goes on with --job. Exit 1 if records failed.
    """
    app = load_app(target)
    (chosen,) = app.select([processor])
    if publish and to_topic is not None:
        raise UsageError(f"--publish and --to-topic {to_topic} name two places", fix="leave one of them out")
    if job is not None and not publish and to_topic is None:
        raise UsageError(
            f"--job {job}: a replay that only prints keeps no place to go on from", fix="leave --job out, or --publish"
        )
    _check_effects(chosen, effects=effects)
    raw = None if key is None else raw_key(chosen, key)
    selection = select(partition=None, offset=None, since=since, until=until, follow=False)
    settings = settings_from(bootstrap_servers, schema_registry_url, properties, code=app.settings)
    registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
    admin = Admin(settings)
    check_topics(admin, chosen, writes=False)
    parts = _plan(admin, chosen, spans(admin, chosen.source.name, selection), state_from_start=state_from_start)
    with stoppable() as stop:
        if not publish and to_topic is None:
            _run(chosen, parts, PrintOutlet(Describer(registry)), raw, settings, stop)
            return
        name = job or f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"
        asked: dict[str, object] = {"--from": since, "--to": until, "--key": key, "--to-topic": to_topic}
        asked["--state-from-start"] = state_from_start
        limit = _limit(admin, chosen, to_topic)
        with PublishOutlet(settings, group_of(chosen.group, name), limit, to_topic) as outlet:
            left = outlet.begin(name, asked, parts, stateful=bool(chosen.kept))
            sys.stderr.write(f"job {name}: if this is interrupted, the same command with --job {name} goes on\n")
            _run(chosen, left, outlet, raw, settings, stop)


class PrintOutlet:
    """Prints outputs as `streams topic consume` does once they count; they have no partition and offset."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._outputs: list[RawRecord] = []

    def send(self, outputs: Sequence[RawRecord]) -> None:
        """Keep them until they count: what is refused is done again."""
        self._outputs += outputs

    def commit(self, done: Mapping[TopicPartition, int]) -> None:
        """Print them."""
        del done
        for output in self._outputs:
            shown = self._describer.describe(output)
            del shown["partition"], shown["offset"]
            pipe.write(json.dumps(shown, ensure_ascii=False) + "\n")
        self._outputs.clear()
        pipe.flush()

    def abort(self) -> None:
        """Forget what was not printed."""
        self._outputs.clear()


class _Refusals:
    """Lists records that failed on stderr, the first of them, and counts them by reason, numbers in it left out."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def __call__(self, refusal: Refusal) -> None:
        record, error = refusal
        reason = f"{error.stage}: {describe(error)}"
        kind = f"{error.stage}: {normalised(describe(error))}"
        self.reasons[kind if kind in self.reasons or len(self.reasons) < MOST_GROUPS else OTHERS] += 1
        if self.reasons.total() <= _MOST_TOLD:
            sys.stderr.write(f"failed: {record.topic}[{record.partition}] offset {record.offset}: {reason}\n")

    def summary(self) -> None:
        """Tell how many there were of each reason."""
        for reason, count in self.reasons.most_common(20):
            sys.stderr.write(f"{count:>9,}  {reason}\n")


def _plan(admin: Admin, processor: Processor, found: dict[TopicPartition, Range], *, state_from_start: bool) -> Parts:
    names = ", ".join(store.name for store in processor.stores)
    if not names or not state_from_start:
        if names:
            sys.stderr.write(f"stores begin empty ({names}); --state-from-start builds them first\n")
        return parts_of(found, {})
    held = admin.ranges(found)
    if any(whole.start > 0 for whole in held.values()):
        sys.stderr.write("the topic has lost its first records, so what they put into the stores is missing\n")
    return parts_of(found, {tp: whole.start for tp, whole in held.items()})


def _check_effects(processor: Processor, *, effects: bool) -> None:
    if effects and not processor.effect:
        raise UsageError(f"processor {processor.name} has no effects", fix="leave --effects out")
    if processor.effect and not effects:
        raise UsageError(
            f"processor {processor.name} is an effect, and a replay leaves effects out",
            fix="add --effects to let it act on the outside world again",
        )


def _limit(admin: Admin, processor: Processor, topic: str | None) -> int:
    """Return the `max.message.bytes` to keep below.

    Raises:
        UsageError: the topic does not exist, or the processor would read what is sent there.
    """
    if topic is None:
        return smallest_limit(admin, processor)
    known_topic(admin, topic)
    if topic == processor.source.name or topic.startswith(f"{processor.group}."):
        raise UsageError(f"{topic} is read by the processor itself", fix="name a topic for the replay's outputs alone")
    return int(admin.topic_config([topic])[topic]["max.message.bytes"])


def _run(processor: Processor, parts: Parts, outlet: Outlet, key: bytes | None, settings: Settings, stop: Stop) -> None:
    total = sum(part.span.end - part.read_from for part in parts.values())
    shown = sum(part.span.end - part.wanted_from for part in parts.values())
    sys.stderr.write(f"{total:,} offsets of {processor.source.name} to read, outputs of the last {shown:,} count\n")
    eta, refusals = Eta(total, "offsets"), _Refusals()
    try:
        counts = replay(processor, parts, outlet, key, settings, Hearing(refusals, eta.advance, stop))
    finally:
        eta.finish()
    sys.stderr.write(f"{counts.records:,} records, {counts.outputs:,} outputs, {counts.refused:,} failed\n")
    refusals.summary()
    if stop() and eta.done < total:
        sys.stderr.write("stopped before the end\n")
        stop.leave()
    if counts.refused:
        raise typer.Exit(EXIT_FAILED)
