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


class PostKind(StrEnum):
    'What a post is; `unknown` is what an older reader sees of a newer kind.'

    __avro_name__ = 'social.PostKind'

    unknown = 'unknown'
    text = 'text'
    link = 'link'


class PostPublished(AvroModel):
    'A person published a post.'

    __avro_name__: ClassVar[str] = 'social.PostPublished'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"PostPublished","namespace":"social","doc":"A person published a post.","fie'
        'lds":[{"name":"post_id","type":"string","doc":"The post\'s id, unique for ever, such as p000123."},{"'
        'name":"author_id","type":"string","doc":"Who wrote it: a person\'s id; the topic\'s key."},{"name":"po'
        'sted_at","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"When it was published (UTC).'
        '"},{"name":"text","type":"string","doc":"What it says."},{"name":"kind","type":{"type":"enum","name"'
        ':"PostKind","doc":"What a post is; `unknown` is what an older reader sees of a newer kind.","symbols'
        '":["unknown","text","link"],"default":"unknown"},"doc":"Whether it carries a link.","default":"text"'
        '}]}',
    )

    post_id: str
    "The post's id, unique for ever, such as p000123."
    author_id: str
    "Who wrote it: a person's id; the topic's key."
    posted_at: AwareDatetime
    'When it was published (UTC).'
    text: str
    'What it says.'
    kind: PostKind = PostKind.text
    'Whether it carries a link.'
