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


class InboxRow(AvroModel):
    "An event that a processor has dealt with; the key of the row is the event's id. Times are doubles because those are read fastest."

    __avro_name__: ClassVar[str] = 'streams.InboxRow'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"InboxRow","namespace":"streams","doc":"An event that a processor has dealt '
        'with; the key of the row is the event\'s id. Times are doubles because those are read fastest.","fiel'
        'ds":[{"name":"timestamp_ms","type":"double","doc":"Its time, in milliseconds since the epoch."},{"na'
        'me":"handled_ms","type":"double","doc":"When it was handled, by the clock of the worker."},{"name":"'
        'offset","type":"long","doc":"Where it was read first, in this partition."}]}',
    )

    timestamp_ms: float
    'Its time, in milliseconds since the epoch.'
    handled_ms: float
    'When it was handled, by the clock of the worker.'
    offset: Long
    'Where it was read first, in this partition.'
