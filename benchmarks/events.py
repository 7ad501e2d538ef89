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


class ActivePowerRecord(AvroModel):
    'What a power meter has measured: the record of the Theodolite benchmarks.'

    __avro_name__: ClassVar[str] = 'bench.ActivePowerRecord'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"ActivePowerRecord","namespace":"bench","doc":"What a power meter has measur'
        'ed: the record of the Theodolite benchmarks.","fields":[{"name":"identifier","type":"string","doc":"'
        'The meter; the topic\'s key."},{"name":"timestamp","type":"long","doc":"Milliseconds since 1970."},{"'
        'name":"valueInW","type":"double","doc":"Watts."}]}',
    )

    identifier: str
    "The meter; the topic's key."
    timestamp: Long
    'Milliseconds since 1970.'
    valueInW: float
    'Watts.'


class Count(AvroModel):
    'How many posts an author has written.'

    __avro_name__: ClassVar[str] = 'bench.Count'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Count","namespace":"bench","doc":"How many posts an author has written.","f'
        'ields":[{"name":"author","type":"string","doc":"The topic\'s key."},{"name":"posts","type":"long","do'
        'c":"So many."}]}',
    )

    author: str
    "The topic's key."
    posts: Long
    'So many.'


class Headline(AvroModel):
    'What a public post is mapped to.'

    __avro_name__: ClassVar[str] = 'bench.Headline'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Headline","namespace":"bench","doc":"What a public post is mapped to.","fie'
        'lds":[{"name":"post_id","type":"string","doc":"The post\'s id."},{"name":"author","type":"string","do'
        'c":"Who wrote it; the topic\'s key."},{"name":"text","type":"string","doc":"What it says."},{"name":"'
        'posted_at","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"When (UTC)."}]}',
    )

    post_id: str
    "The post's id."
    author: str
    "Who wrote it; the topic's key."
    text: str
    'What it says.'
    posted_at: AwareDatetime
    'When (UTC).'


class Audience(StrEnum):
    __avro_name__ = 'bench.Audience'

    PUBLIC = 'PUBLIC'
    FOLLOWERS = 'FOLLOWERS'
    FRIENDS = 'FRIENDS'


class Post(AvroModel):
    'A post of about 100 bytes.'

    __avro_name__: ClassVar[str] = 'bench.Post'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Post","namespace":"bench","doc":"A post of about 100 bytes.","fields":[{"na'
        'me":"post_id","type":"string","doc":"Unique."},{"name":"author","type":"string","doc":"Who wrote it;'
        ' the topic\'s key."},{"name":"text","type":"string","doc":"What it says."},{"name":"tags","type":{"ty'
        'pe":"array","items":"string"},"doc":"Two words."},{"name":"posted_at","type":{"type":"long","logical'
        'Type":"timestamp-millis"},"doc":"When (UTC)."},{"name":"audience","type":{"type":"enum","name":"Audi'
        'ence","symbols":["PUBLIC","FOLLOWERS","FRIENDS"]},"doc":"Who may read it; half of the posts are publ'
        'ic."},{"name":"reply_to","type":["null","string"],"default":null,"doc":"The post that it answers."}]'
        '}',
    )

    post_id: str
    'Unique.'
    author: str
    "Who wrote it; the topic's key."
    text: str
    'What it says.'
    tags: tuple[str, ...]
    'Two words.'
    posted_at: AwareDatetime
    'When (UTC).'
    audience: Audience
    'Who may read it; half of the posts are public.'
    reply_to: str | None = None
    'The post that it answers.'


class Stored(AvroModel):
    "What Theodolite's UC1 gives to its database."

    __avro_name__: ClassVar[str] = 'bench.Stored'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Stored","namespace":"bench","doc":"What Theodolite\'s UC1 gives to its datab'
        'ase.","fields":[{"name":"identifier","type":"string","doc":"The meter; the topic\'s key."},{"name":"d'
        'ocument","type":"string","doc":"The measurement as a JSON object."}]}',
    )

    identifier: str
    "The meter; the topic's key."
    document: str
    'The measurement as a JSON object.'
