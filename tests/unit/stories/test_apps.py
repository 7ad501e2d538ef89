from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from story_memory import Memory

from stories.catalog import STORIES
from stories.shipments.events import ShipmentEvent
from stories.shipments.sample import ODD_FREIGHTS, ODD_WEIGHTS
from stories.social import app as social
from stories.social import events, events_v1

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture(params=sorted(STORIES))
def story(request):
    return STORIES[request.param]


def run(story, memory, folder):
    for name in story.upstream_first:
        memory.run(story.app.processors[name], folder)


def test_a_story_comes_to_what_is_expected_of_its_sample(story, sample, tmp_path):
    memory = Memory()
    refused = story.publish_tables(sample, memory) + story.publish_events(sample, memory)
    run(story, memory, tmp_path)
    verdict = story.verify(story.expect(sample), memory)
    assert verdict.difference._replace(compared=0) == (0, 0, 0)
    assert verdict.difference.compared > 2_000
    assert verdict.figures["refused_lines"] == refused > 0


def test_every_processor_of_a_story_runs_after_what_feeds_it(story):
    fed = set()
    for name in story.upstream_first:
        processor = story.app.processors[name]
        makers = [p.name for p in story.app.processors.values() if processor.source in p.outputs.values()]
        assert fed >= set(makers), name
        fed.add(name)
    assert fed == set(story.app.processors)


def test_both_versions_of_a_post_are_on_the_way_and_both_readers_read_both(sample):
    memory, story = Memory(), STORIES["social"]
    story.publish_tables(sample, memory)
    story.publish_events(sample, memory)
    writers = {record.value[:5] for record in memory.topics["social.posts"]}
    assert len(writers) == 2
    read_by = {processor.source.model for processor in (social.app.processors[n] for n in ("notify", "analytics"))}
    assert read_by == {events.PostPublished, events_v1.PostPublished}
    [new] = memory.values("social.posts", events.PostPublished)
    [old] = memory.values("social.posts", events_v1.PostPublished)
    shared = events_v1.PostPublished.model_fields.keys()
    assert [post.model_dump(include=shared) for _, post in new] == [post.model_dump() for _, post in old]
    assert {post.origin is None for _, post in new} == {True, False}


def test_a_cell_without_a_number_travels_as_null_beside_its_text(sample):
    memory = Memory()
    STORIES["shipments"].publish_events(sample, memory)
    [records] = memory.values("shipments.events", ShipmentEvent)
    cells = [
        cell
        for _, event in records
        for cell in (
            (event.weight_kg, event.weight_raw),
            (event.freight_usd, event.freight_raw),
            (event.product.quantity, event.product.quantity_raw),
            (event.product.value_usd, event.product.value_raw),
        )
    ]
    assert len(cells) == 4_000
    assert all(Decimal(raw) == number for number, raw in cells if number is not None)
    assert {raw for number, raw in cells if number is None} == {*ODD_WEIGHTS, *ODD_FREIGHTS}


def item(number, posted_at):
    return events.FeedItem(user_id="7", post_id=f"p{number:03}", author_id="9", posted_at=posted_at)


def newest(memory):
    [rows] = memory.values("social.feeds", events.Feed)
    return [entry.post_id for entry in rows[-1][1].entries]


@pytest.mark.parametrize("order", [1, -1])
def test_a_feed_keeps_the_newest_hundred_whatever_the_order_of_arrival(tmp_path, order):
    memory = Memory()
    items = [item(number, NOON + timedelta(minutes=number)) for number in range(130)]
    memory.send(social.feed_items, items[::order])
    memory.run(social.app.processors["feed"], tmp_path)
    assert newest(memory) == [f"p{number:03}" for number in range(129, 29, -1)]


def test_posts_of_the_same_moment_are_ordered_by_their_id(tmp_path):
    memory = Memory()
    memory.send(social.feed_items, [item(number, NOON) for number in (2, 3, 1)])
    memory.run(social.app.processors["feed"], tmp_path)
    assert newest(memory) == ["p003", "p002", "p001"]


def test_a_post_of_somebody_without_followers_reaches_nobody(tmp_path):
    memory = Memory()
    post = events.PostPublished(post_id="p1", author_id="alone", posted_at=NOON, text="hello")
    memory.send(social.posts, [post])
    for name in ("notify", "fan_out"):
        memory.run(social.app.processors[name], tmp_path)
    assert memory.topics.keys() == {"social.posts", "social.followers"}
    assert not memory.topics["social.followers"]
