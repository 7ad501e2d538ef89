"""A copy of an app in a namespace shares no name with the app, and its handlers notice nothing."""

from __future__ import annotations

import pytest

from stories.social.app import app as social
from stories.social.app import feeds, followers, old_posts, posts
from stories.social.events import PostPublished
from streams import App, Store, Table, UsageError
from streams.preflight import load_codecs


def names(app: App) -> set[str]:
    found = {spec.name for spec in app.topics()} | {subject for subject, _ in app.contracts()}
    for processor in app.processors.values():
        found |= {processor.group, processor.dead_letter_topic, processor.owner, *processor.state().values()}
        found |= {processor.source.name, *(topic.name for topic in processor.outputs.values())}
    return found


class Ids:
    """Registered is what the namespace holds, and nothing else."""

    def lookup(self, subject: str, _text: str) -> int:
        assert subject.startswith("pr-7.")
        return 1


def test_no_name_is_shared_with_the_app_or_another_namespace() -> None:
    one, two = names(social.in_namespace("pr-7")), names(social.in_namespace("pr-8"))

    assert one == {f"pr-7.{name}" for name in names(social)}
    assert len(one) > 20
    assert not one & two
    assert not one & names(social)


def test_the_handlers_go_on_using_the_same_stores_and_tables() -> None:
    inside = social.in_namespace("pr-7")

    assert inside.processors["feed"].stores == (feeds,)
    assert inside.processors["feed"].state() == {feeds: "pr-7.social.feeds"}
    assert inside.processors["notify"].state() == {followers: "pr-7.social.followers"}
    assert inside.processors["notify"].handler is social.processors["notify"].handler


def test_every_topic_has_its_codec() -> None:
    for name, processor in social.in_namespace("pr-7").processors.items():
        codecs = load_codecs(Ids(), processor)
        used = {processor.source.name, *(topic.name for topic in processor.outputs.values())}
        assert codecs.keys() == used | set(processor.state().values()), name


def test_a_topic_that_the_app_does_not_declare_is_renamed_too() -> None:
    inside = social.in_namespace("pr-7").processors
    assert inside["analytics"].source.name == f"pr-7.{old_posts.name}"
    assert inside["analytics"].source.model is old_posts.model
    assert inside["notify"].source is inside["fan_out"].source


def test_a_processor_that_feeds_itself_still_does() -> None:
    app = App("loop")
    topic = app.topic("loop.posts", PostPublished, key="author_id")

    @app.processor(topic, to=topic)
    def again(post: PostPublished, _ctx: object) -> PostPublished:
        return post

    processor = app.in_namespace("a").processors["again"]
    assert processor.source in processor.outputs.values()


def test_the_app_itself_stays_as_it_was() -> None:
    before = names(social)
    social.in_namespace("pr-7")
    assert names(social) == before
    assert posts.name == "social.posts"


@pytest.mark.parametrize("name", ["", "Pr", "a.b", "-a", "a_b", "a b", "a" * 64])
def test_an_illegal_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a namespace"):
        social.in_namespace(name)


def test_a_name_that_becomes_too_long_is_told_with_its_topic() -> None:
    app = App("shop")
    app.topic("t" * 240, PostPublished)
    app.in_namespace("a" * 8)
    with pytest.raises(UsageError, match="250 characters long, Kafka takes 249"):
        app.in_namespace("a" * 9)


def test_a_copy_takes_no_declarations_and_no_second_namespace() -> None:
    inside = social.in_namespace("pr-7")

    def handler(_post: PostPublished, _ctx: object) -> None: ...

    wrong = [
        lambda: inside.topic("social.more", PostPublished),
        lambda: inside.table("social.rows", PostPublished, key="author_id"),
        lambda: inside.store("more", str, PostPublished),
        lambda: inside.processor(posts)(handler),
        lambda: inside.in_namespace("pr-8"),
    ]
    for declare in wrong:
        with pytest.raises(UsageError, match="is a copy"):
            declare()


def test_what_is_told_of_a_namespace_is_typed() -> None:
    processor = social.in_namespace("pr-7").processors["notify"]
    [table] = processor.tables
    assert isinstance(table, Table)
    assert processor.table_topic(table).subject == "pr-7.social.followers-value"
    assert isinstance(feeds, Store)
