"""What a processor reads and writes, and the codec plan of each: known before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streams.avro.model import versions_of
from streams.avro.native import Native
from streams.avro.plans import GENERATED, foreseen
from streams.avro.schema import Schema
from streams.topology import Processor

COLUMNAR = "columnar"


class TopicPlan(NamedTuple):
    """How the values of one topic are decoded or encoded, those of one version of the contract.

    `plan` is `native`, `generated`, or for a batch processor's columns `columnar`; `why` says why it is `generated`.
    """

    processor: str
    role: str
    topic: str
    model: str
    version: int
    plan: str
    why: str


def topic_plans(processor: Processor) -> Iterator[TopicPlan]:
    """Yield the plans of what a processor reads, in every version (input, tables, stores), and of what it writes."""
    read = [("reads", processor.source.name, processor.source.model)]
    read += [("follows", processor.table_topic(table).name, table.topic.model) for table in processor.tables]
    read += [("keeps", topic, store.model) for store, topic in processor.changelogs().items()]
    for role, topic, model in read:
        columns = processor.batches is not None and role == "reads"
        for found in foreseen(model):
            plan, why = found.engine, found.why
            if columns and Native(Schema(versions_of(model)[found.version - 1])).takes:
                plan, why = COLUMNAR, ""
            yield TopicPlan(processor.name, role, topic, model.__name__, found.version, plan, why)
    written = [*processor.outputs.values(), *filter(None, [processor.reply])]
    for each in written:
        latest = len(versions_of(each.model))
        columns = processor.batches is not None and Native(Schema(versions_of(each.model)[-1])).takes
        plan = COLUMNAR if columns else GENERATED
        why = "" if columns else "models are encoded by generated code"
        yield TopicPlan(processor.name, "writes", each.name, each.model.__name__, latest, plan, why)
