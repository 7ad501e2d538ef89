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


class Appended(AvroModel):
    "An item was appended to its key's list."

    __avro_name__: ClassVar[str] = 'live.Appended'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Appended","namespace":"live","doc":"An item was appended to its key\'s list.'
        '","fields":[{"name":"key","type":"string","doc":"The topic\'s key."},{"name":"n","type":"long","doc":'
        '"The item."},{"name":"size","type":"long","doc":"The length of the list with it."},{"name":"digest",'
        '"type":"string","doc":"A hash of the whole list."}]}',
    )

    key: str
    "The topic's key."
    n: Long
    'The item.'
    size: Long
    'The length of the list with it.'
    digest: str
    'A hash of the whole list.'


class History(AvroModel):
    'All items of a key in the order they came.'

    __avro_name__: ClassVar[str] = 'live.History'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"History","namespace":"live","doc":"All items of a key in the order they cam'
        'e.","fields":[{"name":"items","type":{"type":"array","items":"long"},"doc":"The items."}]}',
    )

    items: tuple[Long, ...]
    'The items.'


class Item(AvroModel):
    'What the test processors read.'

    __avro_name__: ClassVar[str] = 'live.Item'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Item","namespace":"live","doc":"What the test processors read.","fields":[{'
        '"name":"key","type":"string","doc":"The topic\'s key."},{"name":"n","type":"long","doc":"Counts up fo'
        'r each key."},{"name":"text","type":"string","doc":"Filling, and what the handler is told to do."}]}',
    )

    key: str
    "The topic's key."
    n: Long
    'Counts up for each key.'
    text: str
    'Filling, and what the handler is told to do.'


class Left(AvroModel):
    'One half of a pair that is written in one transaction.'

    __avro_name__: ClassVar[str] = 'live.Left'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Left","namespace":"live","doc":"One half of a pair that is written in one t'
        'ransaction.","fields":[{"name":"key","type":"string","doc":"The topic\'s key."},{"name":"n","type":"l'
        'ong","doc":"The item."}]}',
    )

    key: str
    "The topic's key."
    n: Long
    'The item.'


class Kind(StrEnum):
    __avro_name__ = 'live.Kind'

    UNKNOWN = 'UNKNOWN'
    HOT = 'HOT'
    COLD = 'COLD'


class Measured(AvroModel):
    'One value of every kind that people have to be able to read.'

    __avro_name__: ClassVar[str] = 'live.Measured'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Measured","namespace":"live","doc":"One value of every kind that people hav'
        'e to be able to read.","fields":[{"name":"sensor","type":"long","doc":"The topic\'s key: a long."},{"'
        'name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"An instant."},{"name":"day'
        '","type":{"type":"int","logicalType":"date"},"doc":"A day."},{"name":"price","type":{"type":"bytes",'
        '"logicalType":"decimal","precision":12,"scale":3},"doc":"An exact number."},{"name":"tag","type":{"t'
        'ype":"string","logicalType":"uuid"},"doc":"A UUID."},{"name":"raw","type":"bytes","doc":"Bytes."},{"'
        'name":"kind","type":{"type":"enum","name":"Kind","symbols":["UNKNOWN","HOT","COLD"],"default":"UNKNO'
        'WN"},"doc":"An enum."},{"name":"note","type":["null","string"],"doc":"An optional text.","default":n'
        'ull},{"name":"labels","type":{"type":"map","values":"string"},"doc":"A map."}]}',
    )

    sensor: Long
    "The topic's key: a long."
    at: AwareDatetime
    'An instant.'
    day: datetime.date
    'A day.'
    price: Annotated[Decimal, Field(max_digits=12, decimal_places=3)]
    'An exact number.'
    tag: UUID
    'A UUID.'
    raw: bytes
    'Bytes.'
    kind: Kind
    'An enum.'
    note: str | None = None
    'An optional text.'
    labels: FrozenMap[str]
    'A map.'


class Right(AvroModel):
    'The other half of a pair.'

    __avro_name__: ClassVar[str] = 'live.Right'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Right","namespace":"live","doc":"The other half of a pair.","fields":[{"nam'
        'e":"key","type":"string","doc":"The topic\'s key."},{"name":"n","type":"long","doc":"The item."}]}',
    )

    key: str
    "The topic's key."
    n: Long
    'The item.'
