"""Made by `streams schema generate`. Do not edit: rules of your own go into a subclass."""

# ruff: noqa
from __future__ import annotations

import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field, NaiveDatetime

from streams.avro.model import AvroModel, FrozenDict, FrozenMap, Int, Long


class WaitingStatus(StrEnum):
    'RETRYING: tried again when it is due. QUEUED: behind another record of its key. PARKED: until somebody releases it.'

    __avro_name__ = 'streams.WaitingStatus'

    RETRYING = 'RETRYING'
    QUEUED = 'QUEUED'
    PARKED = 'PARKED'


class WaitingHeader(AvroModel):
    'One header.'

    __avro_name__: ClassVar[str] = 'streams.WaitingHeader'

    name: str
    'Its name.'
    value: bytes | None = None
    'Its value.'


class WaitingRecord(AvroModel):
    'A record that a processor has not dealt with yet: it failed and is tried again, or is parked, or another one of its key is.'

    __avro_name__: ClassVar[str] = 'streams.WaitingRecord'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"WaitingRecord","namespace":"streams","doc":"A record that a processor has n'
        'ot dealt with yet: it failed and is tried again, or is parked, or another one of its key is.","field'
        's":[{"name":"status","doc":"Why it waits.","type":{"type":"enum","name":"WaitingStatus","doc":"RETRY'
        'ING: tried again when it is due. QUEUED: behind another record of its key. PARKED: until somebody re'
        'leases it.","symbols":["RETRYING","QUEUED","PARKED"]}},{"name":"key","type":["null","bytes"],"defaul'
        't":null,"doc":"Its key, as it was read."},{"name":"value","type":["null","bytes"],"default":null,"do'
        'c":"Its value, as it was read; null is a tombstone."},{"name":"timestamp_ms","type":"long","doc":"It'
        's time, in milliseconds since the epoch."},{"name":"headers","doc":"Its headers, in their order.","t'
        'ype":{"type":"array","items":{"type":"record","name":"WaitingHeader","doc":"One header.","fields":[{'
        '"name":"name","type":"string","doc":"Its name."},{"name":"value","type":["null","bytes"],"default":n'
        'ull,"doc":"Its value."}]}}},{"name":"topic","type":"string","doc":"The topic that it was read from."'
        '},{"name":"partition","type":"int","doc":"The partition that it was read from."},{"name":"offset","t'
        'ype":"long","doc":"Its offset there."},{"name":"attempts","type":"int","doc":"How often its handler '
        'failed."},{"name":"due_ms","type":"long","doc":"When it is tried again, in milliseconds since the ep'
        'och."},{"name":"failed_ms","type":"long","doc":"When it failed first."},{"name":"stage","type":"stri'
        'ng","doc":"Where it failed last; empty if it only stands behind another one."},{"name":"kind","type"'
        ':"string","doc":"The exception\'s class, or the defect of its frame."},{"name":"message","type":"stri'
        'ng","doc":"What was wrong, in words."}]}',
    )

    status: WaitingStatus
    'Why it waits.'
    key: bytes | None = None
    'Its key, as it was read.'
    value: bytes | None = None
    'Its value, as it was read; null is a tombstone.'
    timestamp_ms: Long
    'Its time, in milliseconds since the epoch.'
    headers: tuple[WaitingHeader, ...]
    'Its headers, in their order.'
    topic: str
    'The topic that it was read from.'
    partition: Int
    'The partition that it was read from.'
    offset: Long
    'Its offset there.'
    attempts: Int
    'How often its handler failed.'
    due_ms: Long
    'When it is tried again, in milliseconds since the epoch.'
    failed_ms: Long
    'When it failed first.'
    stage: str
    'Where it failed last; empty if it only stands behind another one.'
    kind: str
    "The exception's class, or the defect of its frame."
    message: str
    'What was wrong, in words.'
