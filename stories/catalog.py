"""The stories, each with what is needed to run it from files to a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stories import expected
from stories.read import TopicReader
from stories.shipments import app as shipments_app
from stories.shipments import publish as shipments_publish
from stories.shipments import sample as shipments_sample
from stories.shipments import verify as shipments_verify
from stories.shipments.load import SHIPMENTS
from stories.social import app as social_app
from stories.social import publish as social_publish
from stories.social import sample as social_sample
from stories.social import verify as social_verify
from stories.social.load import FRIENDSHIPS, POSTS
from stories.verdict import Verdict
from streams import App, Publisher

Publish = Callable[[Path, Publisher], int]


@dataclass(frozen=True)
class Story:
    """One story: its app, how its files are sent, what they must come to, how that is checked.

    `upstream_first` lists the processors so that what feeds another one comes before it.
    """

    app: App
    target: str
    files: tuple[str, ...]
    upstream_first: tuple[str, ...]
    write_sample: Callable[[Path, int], object]
    publish_tables: Publish
    publish_events: Publish
    expect: Callable[[Path], Any]
    verify: Callable[[Any, TopicReader], Verdict]

    @property
    def name(self) -> str:
        """The app's name is the story's."""
        return self.app.name


STORIES: dict[str, Story] = {
    "social": Story(
        social_app.app,
        "stories.social.app:app",
        (POSTS, FRIENDSHIPS),
        ("notify", "fan_out", "analytics", "feed"),
        social_sample.write_sample,
        social_publish.publish_tables,
        social_publish.publish_events,
        expected.social,
        social_verify.verify,
    ),
    "shipments": Story(
        shipments_app.app,
        "stories.shipments.app:app",
        (SHIPMENTS,),
        ("tell_customer", "tell_warehouse", "book_freight", "track", "find_late", "weigh"),
        shipments_sample.write_sample,
        shipments_publish.publish_tables,
        shipments_publish.publish_events,
        expected.shipments,
        shipments_verify.verify,
    ),
}
