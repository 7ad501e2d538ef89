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


class FeedEntry(AvroModel):
    'One post of a feed.'

    __avro_name__: ClassVar[str] = 'social.FeedEntry'

    post_id: str
    'The post.'
    author_id: str
    'Who wrote it.'
    posted_at: AwareDatetime
    'When it was published (UTC).'


class Feed(AvroModel):
    "The newest posts of a person's friends, at most 100."

    __avro_name__: ClassVar[str] = 'social.Feed'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Feed","namespace":"social","doc":"The newest posts of a person\'s friends, a'
        't most 100.","fields":[{"name":"user_id","type":"string","doc":"Whose feed it is; the table\'s key."}'
        ',{"name":"entries","type":{"type":"array","items":{"type":"record","name":"FeedEntry","doc":"One pos'
        't of a feed.","fields":[{"name":"post_id","type":"string","doc":"The post."},{"name":"author_id","ty'
        'pe":"string","doc":"Who wrote it."},{"name":"posted_at","type":{"type":"long","logicalType":"timesta'
        'mp-millis"},"doc":"When it was published (UTC)."}]}},"doc":"Newest first, by (posted_at, post_id).",'
        '"default":[]}]}',
    )

    user_id: str
    "Whose feed it is; the table's key."
    entries: tuple[FeedEntry, ...] = Field(default_factory=lambda: ())
    'Newest first, by (posted_at, post_id).'


class FeedItem(AvroModel):
    "One post on its way into one person's feed. Small, because a post makes one for every friend."

    __avro_name__: ClassVar[str] = 'social.FeedItem'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"FeedItem","namespace":"social","doc":"One post on its way into one person\'s'
        ' feed. Small, because a post makes one for every friend.","fields":[{"name":"user_id","type":"string'
        '","doc":"Whose feed it goes to; the topic\'s key."},{"name":"post_id","type":"string","doc":"The post'
        '."},{"name":"author_id","type":"string","doc":"Who wrote it."},{"name":"posted_at","type":{"type":"l'
        'ong","logicalType":"timestamp-millis"},"doc":"When it was published (UTC)."}]}',
    )

    user_id: str
    "Whose feed it goes to; the topic's key."
    post_id: str
    'The post.'
    author_id: str
    'Who wrote it.'
    posted_at: AwareDatetime
    'When it was published (UTC).'


class Followers(AvroModel):
    "Everybody whom a person's posts reach: one row per person, the last one holds."

    __avro_name__: ClassVar[str] = 'social.Followers'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Followers","namespace":"social","doc":"Everybody whom a person\'s posts reac'
        'h: one row per person, the last one holds.","fields":[{"name":"user_id","type":"string","doc":"The p'
        'erson who is followed; the table\'s key."},{"name":"friend_ids","type":{"type":"array","items":"strin'
        'g"},"doc":"The followers\' ids in ascending order; the busiest person of the real data has 1,045.","d'
        'efault":[]}]}',
    )

    user_id: str
    "The person who is followed; the table's key."
    friend_ids: tuple[str, ...] = ()
    "The followers' ids in ascending order; the busiest person of the real data has 1,045."


class NotificationKind(StrEnum):
    'What happened; `unknown` is what an older reader sees of a newer kind.'

    __avro_name__ = 'social.NotificationKind'

    unknown = 'unknown'
    post = 'post'


class Notification(AvroModel):
    'Tells one person of one thing that happened.'

    __avro_name__: ClassVar[str] = 'social.Notification'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Notification","namespace":"social","doc":"Tells one person of one thing tha'
        't happened.","fields":[{"name":"user_id","type":"string","doc":"Who is told; the topic\'s key."},{"na'
        'me":"post_id","type":"string","doc":"The post it is about."},{"name":"kind","type":{"type":"enum","n'
        'ame":"NotificationKind","doc":"What happened; `unknown` is what an older reader sees of a newer kind'
        '.","symbols":["unknown","post"],"default":"unknown"},"doc":"What happened: `post`, a friend publishe'
        'd a post.","default":"post"}]}',
    )

    user_id: str
    "Who is told; the topic's key."
    post_id: str
    'The post it is about.'
    kind: NotificationKind = NotificationKind.post
    'What happened: `post`, a friend published a post.'


class PostKind(StrEnum):
    'What a post is; `unknown` is what an older reader sees of a newer kind.'

    __avro_name__ = 'social.PostKind'

    unknown = 'unknown'
    text = 'text'
    link = 'link'


class Origin(AvroModel):
    'Where a post entered the system.'

    __avro_name__: ClassVar[str] = 'social.Origin'

    source: str
    'The file or client that it came from.'
    line: Long | None = None
    'The line of a file, counted from 1.'


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
        '{"type":"record","name":"PostPublished","namespace":"social","doc":"A person published a post.","fie'
        'lds":[{"name":"post_id","type":"string","doc":"The post\'s id, unique for ever, such as p000123."},{"'
        'name":"author_id","type":"string","doc":"Who wrote it: a person\'s id; the topic\'s key."},{"name":"po'
        'sted_at","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"When it was published (UTC).'
        '"},{"name":"text","type":"string","doc":"What it says."},{"name":"kind","type":{"type":"enum","name"'
        ':"PostKind","doc":"What a post is; `unknown` is what an older reader sees of a newer kind.","symbols'
        '":["unknown","text","link"],"default":"unknown"},"doc":"Whether it carries a link.","default":"text"'
        '},{"name":"tags","type":{"type":"array","items":"string"},"doc":"The hashtags of the text in their o'
        'rder, without the sign.","default":[]},{"name":"origin","type":["null",{"type":"record","name":"Orig'
        'in","doc":"Where a post entered the system.","fields":[{"name":"source","type":"string","doc":"The f'
        'ile or client that it came from."},{"name":"line","type":["null","long"],"doc":"The line of a file, '
        'counted from 1.","default":null}]}],"doc":"Where the post came from, where that is known.","default"'
        ':null}]}',
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
    tags: tuple[str, ...] = ()
    'The hashtags of the text in their order, without the sign.'
    origin: Origin | None = None
    'Where the post came from, where that is known.'


class PostStatistics(AvroModel):
    'What one author wrote on one day so far; a later record of the same author and day replaces it.'

    __avro_name__: ClassVar[str] = 'social.PostStatistics'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"PostStatistics","namespace":"social","doc":"What one author wrote on one da'
        'y so far; a later record of the same author and day replaces it.","fields":[{"name":"author_id","typ'
        'e":"string","doc":"The author; the topic\'s key."},{"name":"day","type":{"type":"int","logicalType":"'
        'date"},"doc":"The day (UTC)."},{"name":"posts","type":"long","doc":"Posts of that day."},{"name":"wo'
        'rds","type":"long","doc":"Words of those posts, divided by white space."}]}',
    )

    author_id: str
    "The author; the topic's key."
    day: datetime.date
    'The day (UTC).'
    posts: Long
    'Posts of that day.'
    words: Long
    'Words of those posts, divided by white space.'
