"""A replay that publishes has a name; what it was asked for and how far it is lie in Kafka, in a group of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from streams.errors import UsageError
from streams.kafka.admin import Range
from streams.kafka.offsets import Place
from streams.record import TopicPartition

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,60}")


class Part(NamedTuple):
    """What is replayed of one partition: its span, and from where on outputs are wanted.

    It is read from `read_from`, further back than `wanted_from` where state has to be built or built again.
    """

    span: Range
    read_from: int
    wanted_from: int


Parts = dict[TopicPartition, Part]


def group_of(group: str, job: str) -> str:
    """Name the group that keeps the place of a job; it is also its transactional id.

    Raises:
        UsageError: the job has an illegal name.
    """
    if not _LEGAL.fullmatch(job):
        raise UsageError(f"{job!r} cannot name a job", fix="use up to 60 letters, digits, dots, underscores, hyphens")
    return f"{group}.replay.{job}"


def parts_of(spans: Mapping[TopicPartition, Range], starts: Mapping[TopicPartition, int]) -> Parts:
    """Plan a replay from its beginning; where `starts` names an earlier offset, it builds state from there on."""
    return {tp: Part(span, min(starts.get(tp, span.start), span.start), span.start) for tp, span in spans.items()}


def resumed(parts: Parts, places: Mapping[TopicPartition, Place], *, stateful: bool) -> Parts:
    """Plan the rest: outputs are wanted from the committed place on, state has to be built again up to it."""
    return {
        tp: part._replace(wanted_from=places[tp].offset, read_from=part.read_from if stateful else places[tp].offset)
        for tp, part in parts.items()
    }


def noted(part: Part, asked: Mapping[str, object]) -> str:
    """Write down what a job does with a partition, to be committed with its offset."""
    return json.dumps({"start": part.span.start, "end": part.span.end, "read_from": part.read_from, "asked": asked})


def recalled(job: str, places: Mapping[TopicPartition, Place], asked: Mapping[str, object]) -> Parts:
    """Read what a job was doing; empty where there is no such job.

    Raises:
        UsageError: it was asked for something else then.
    """
    parts: Parts = {}
    for tp, place in places.items():
        note = json.loads(place.note)
        for option, value in asked.items():
            if note["asked"].get(option) != value:
                raise UsageError(
                    f"job {job} was begun with {option} {note['asked'].get(option)}, now it is {value}",
                    fix="go on with the options it was begun with, or leave --job out to begin another one",
                )
        span = Range(note["start"], note["end"])
        parts[tp] = Part(span, note["read_from"], span.start)
    return parts
