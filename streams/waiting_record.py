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
    __avro_name__ = 'streams.WaitingStatus'

    RETRYING = 'RETRYING'
    QUEUED = 'QUEUED'
    PARKED = 'PARKED'


class WaitingHeader(AvroModel):
    __avro_name__: ClassVar[str] = 'streams.WaitingHeader'

    name: str
    value: bytes | None


class WaitingRecord(AvroModel):
    'A record that a processor has not dealt with yet: it failed and is tried again, or is parked, or another one of its key is.'

    __avro_name__: ClassVar[str] = 'streams.WaitingRecord'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"WaitingRecord","namespace":"streams","doc":"A record that a processor has n'
        'ot dealt with yet: it failed and is tried again, or is parked, or another one of its key is.","field'
        's":[{"name":"status","type":{"type":"enum","name":"WaitingStatus","symbols":["RETRYING","QUEUED","PA'
        'RKED"]},"doc":"RETRYING: tried again when it is due. QUEUED: behind another record of its key. PARKE'
        'D: until somebody releases it."},{"name":"key","type":["null","bytes"]},{"name":"value","type":["nul'
        'l","bytes"]},{"name":"timestamp_ms","type":"long"},{"name":"headers","type":{"type":"array","items":'
        '{"type":"record","name":"WaitingHeader","fields":[{"name":"name","type":"string"},{"name":"value","t'
        'ype":["null","bytes"]}]}}},{"name":"topic","type":"string"},{"name":"partition","type":"int"},{"name'
        '":"offset","type":"long"},{"name":"attempts","type":"int","doc":"How often its handler failed."},{"n'
        'ame":"due_ms","type":"long","doc":"When it is tried again, in milliseconds since the epoch."},{"name'
        '":"failed_ms","type":"long","doc":"When it failed first."},{"name":"stage","type":"string"},{"name":'
        '"kind","type":"string","doc":"The exception\'s class, or the defect of a frame."},{"name":"message","'
        'type":"string"}]}',
    )

    status: WaitingStatus
    'RETRYING: tried again when it is due. QUEUED: behind another record of its key. PARKED: until somebody releases it.'
    key: bytes | None
    value: bytes | None
    timestamp_ms: Long
    headers: tuple[WaitingHeader, ...]
    topic: str
    partition: Int
    offset: Long
    attempts: Int
    'How often its handler failed.'
    due_ms: Long
    'When it is tried again, in milliseconds since the epoch.'
    failed_ms: Long
    'When it failed first.'
    stage: str
    kind: str
    "The exception's class, or the defect of a frame."
    message: str
