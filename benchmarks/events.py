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


class Headline(AvroModel):
    "What a public post is mapped to."

    __avro_name__: ClassVar[str] = "bench.Headline"
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
    "What it says."
    posted_at: AwareDatetime
    "When (UTC)."


class Audience(StrEnum):
    __avro_name__ = "bench.Audience"

    PUBLIC = "PUBLIC"
    FOLLOWERS = "FOLLOWERS"
    FRIENDS = "FRIENDS"


class Post(AvroModel):
    "A post of about 100 bytes."

    __avro_name__: ClassVar[str] = "bench.Post"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Post","namespace":"bench","doc":"A post of about 100 bytes.","fields":[{"na'
        'me":"post_id","type":"string","doc":"Unique."},{"name":"author","type":"string","doc":"Who wrote it;'
        ' the topic\'s key."},{"name":"text","type":"string","doc":"What it says."},{"name":"tags","type":{"ty'
        'pe":"array","items":"string"},"doc":"Two words."},{"name":"posted_at","type":{"type":"long","logical'
        'Type":"timestamp-millis"},"doc":"When (UTC)."},{"name":"audience","type":{"type":"enum","name":"Audi'
        'ence","symbols":["PUBLIC","FOLLOWERS","FRIENDS"]},"doc":"Who may read it; half of the posts are publ'
        'ic."},{"name":"reply_to","type":["null","string"],"default":null,"doc":"The post that it answers."}]'
        "}",
    )

    post_id: str
    "Unique."
    author: str
    "Who wrote it; the topic's key."
    text: str
    "What it says."
    tags: tuple[str, ...]
    "Two words."
    posted_at: AwareDatetime
    "When (UTC)."
    audience: Audience
    "Who may read it; half of the posts are public."
    reply_to: str | None = None
    "The post that it answers."
