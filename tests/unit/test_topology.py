"""Declarations: what contradicts itself is refused where it is declared, and what a handler uses is found."""

# ruff: noqa: ARG001, PLC3002

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from rig import Appended, Item, Items

from streams import DEAD_LETTER, SKIP, STOP, App, Context, Failure, UsageError
from streams.topology import DEFAULT_CONCURRENCY, Processor, Runs

app = App("decl")
items = app.topic("decl.items", Item, key="key")
lists = app.store("lists", str, Items)
sums = app.store("sums", str, Items)
names = app.table("decl.names", Appended, key="key")


def fresh() -> tuple[App, Any]:
    declared = App("fresh")
    return declared, declared.topic("in", Item, key="key")


def made(handler: Callable[..., Any], **options: Any) -> Processor:
    declared, source = fresh()
    declared.processor(source, **options)(handler)
    return declared.processors[handler.__name__]


def used(handler: Callable[..., Any]) -> set[str]:
    processor = made(handler)
    return {store.name for store in processor.stores} | {table.name for table in processor.tables}


def reads_lists(ctx: Context) -> Items | None:
    return ctx.get(lists, "k")


def calls_helper(ctx: Context) -> Items | None:
    return reads_lists(ctx)


def recursive(ctx: Context) -> Items | None:
    return recursive(ctx) or ctx.get(sums, "k")


def test_globals_of_the_handler_are_found() -> None:
    def handle(item: Item, ctx: Context) -> None:
        ctx.get(names, item.key)
        ctx.put(lists, item.key, None)

    assert used(handle) == {"lists", "decl.names"}


def test_stores_behind_helpers_are_found_however_deep() -> None:
    def handle(item: Item, ctx: Context) -> None:
        calls_helper(ctx)
        recursive(ctx)

    assert used(handle) == {"lists", "sums"}


def test_closures_and_nested_functions_are_found() -> None:
    enclosed = lists

    def handle(item: Item, ctx: Context) -> None:
        def inner() -> list[Items | None]:
            return [(lambda: ctx.get(sums, key))() for key in item.key]

        inner()
        ctx.get(enclosed, "k")

    assert used(handle) == {"lists", "sums"}


def test_a_decorated_handler_is_looked_through() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(item: Item, ctx: Context) -> Any:
            return function(item, ctx)

        return wrapper

    @logged
    def handle(item: Item, ctx: Context) -> None:
        ctx.get(lists, item.key)

    assert used(handle) == {"lists"}


def test_a_helper_that_is_defined_later_does_not_disturb_the_declaration() -> None:
    declared, source = fresh()

    @declared.processor(source)
    def handle(item: Item, ctx: Context) -> None:
        later(ctx)

    def later(ctx: Context) -> None:
        ctx.get(lists, "k")

    assert declared.processors["handle"].stores == ()


def test_what_only_looks_like_a_name_is_not_used() -> None:
    def handle(item: Item, ctx: Context) -> None:
        class Other:
            lists = 1

        del ctx
        print(Other.lists)

    assert used(handle) == set()


def test_uses_adds_what_is_reached_in_other_ways() -> None:
    def handle(item: Item, ctx: Context) -> None:
        del item, ctx

    assert [store.name for store in made(handle, uses=[lists]).stores] == ["lists"]


def takes_none(item: Item | None, ctx: Context) -> NotThere:  # type: ignore[name-defined]  # noqa: F821
    del item, ctx


def takes_items(item: Item, ctx: Context) -> None:
    del item, ctx


def test_a_handler_sees_tombstones_if_its_event_may_be_none() -> None:
    """Also where another hint of the function can only be resolved by a type checker."""
    assert made(takes_none).wants_tombstones
    assert not made(takes_items).wants_tombstones


def refused(handler: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(UsageError) as raised:
        made(handler, **options)
    assert raised.value.fix
    return str(raised.value)


def test_handlers_of_the_wrong_form_are_refused() -> None:
    def alone(item: Item) -> None:
        del item

    async def alone_too(item: Item) -> None:
        del item

    assert "takes 1 parameters" in refused(alone)
    assert "takes 1 parameters" in refused(alone_too)


async def coroutine(item: Item, ctx: Context) -> None:
    del item, ctx


async def generator(item: Item, ctx: Context) -> AsyncIterator[int]:
    del item, ctx
    yield 1


def plain(item: Item, ctx: Context) -> None:
    del item, ctx


def test_where_a_handler_runs_follows_from_what_it_is() -> None:
    declared, source = fresh()
    for handler in (coroutine, generator, plain):
        declared.processor(source)(handler)
    runs = {name: (one.runs, one.concurrency, one.effect) for name, one in declared.processors.items()}
    assert runs == {
        "coroutine": (Runs.IN_LOOP, DEFAULT_CONCURRENCY, False),
        "generator": (Runs.IN_LOOP, DEFAULT_CONCURRENCY, False),
        "plain": (Runs.IN_STEP, 1, False),
    }
    declared, source = fresh()
    declared.processor(source, blocking=True, concurrency=4)(plain)
    declared.effect(source, concurrency=2)(coroutine)
    assert [(one.runs, one.concurrency, one.effect) for one in declared.processors.values()] == [
        (Runs.IN_THREADS, 4, False),
        (Runs.IN_LOOP, 2, True),
    ]
    declared, source = fresh()
    declared.effect(source)(plain)
    assert declared.processors["plain"].runs is Runs.IN_THREADS


def test_lanes_that_contradict_the_handler_are_refused() -> None:
    for handler, options, told in (
        (coroutine, {"blocking": True}, "is async and declared blocking=True"),
        (plain, {"concurrency": 4}, "handles one record after the other"),
        (plain, {"concurrency": 0, "blocking": True}, "concurrency=0"),
    ):
        declared, source = fresh()
        with pytest.raises(UsageError, match=told):
            declared.processor(source, **options)(handler)  # type: ignore[arg-type] # options by name


def test_a_name_that_no_topic_can_have_is_refused_at_the_declaration() -> None:
    assert "not a legal name" in refused(lambda _item, _ctx: None)

    def größe(item: Item, ctx: Context) -> None:  # noqa: PLC2401 - a name that no topic may have
        del item, ctx

    assert "not a legal name" in refused(größe)


def test_outputs_of_one_model_are_ambiguous() -> None:
    declared, _source = fresh()
    a, b = declared.topic("a", Appended), declared.topic("b", Appended)
    assert "both take Appended" in refused(takes_items, to=[a, b])


def test_tables_have_to_be_partitioned_as_the_input() -> None:
    declared = App("other")
    more = declared.table("more", Appended, key="key", partitions=8)
    numbered = declared.table("numbered", Appended, key="n")
    assert "8 partitions" in refused(takes_items, uses=[more])
    assert "keyed by int" in refused(takes_items, uses=[numbered])


def test_one_topic_cannot_be_behind_two_things_of_a_processor() -> None:
    """A changelog that is also the input, an output, a table or another store's would be restored from foreign rows."""
    declared = App("other")
    table = declared.table("shared", Appended, key="key")
    one, two = declared.store("one", str, Items, topic="shared"), declared.store("two", str, Items, topic="shared")
    source_log = declared.store("three", str, Items, topic="in")
    for uses in ([table, one], [one, two], [source_log]):
        assert "topic" in refused(takes_items, uses=uses)
    output = declared.topic("outputs", Appended)
    assert "outputs" in refused(takes_items, uses=[declared.store("four", str, Items, topic="outputs")], to=output)


def test_a_store_belongs_to_one_processor_and_a_changelog_to_one_store() -> None:
    declared, source = fresh()
    store = declared.store("lists", str, Items, topic="public")
    declared.processor(source, uses=[store])(takes_items)
    with pytest.raises(UsageError, match="belongs to processor takes_items"):
        declared.processor(source, uses=[store])(takes_none)
    other = declared.store("more", str, Items, topic="public")
    with pytest.raises(UsageError, match="public"):
        declared.processor(source, uses=[other])(takes_none)


@pytest.mark.parametrize("name", ["", "Shop", "1shop", "a b", "a/b", "a.b", "ä"])
def test_names_of_apps(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name an app"):
        App(name)


def test_declarations_of_topics_and_stores() -> None:
    declared, source = fresh()
    for wrong, told in (
        (lambda: declared.topic("in", Item), "declares topic in twice"),
        (lambda: declared.topic("a b", Item), "not a legal name"),
        (lambda: declared.topic("..", Item), "not a legal name"),
        (lambda: declared.topic("x", Item, partitions=0), "cannot have 0 partitions"),
        (lambda: declared.topic("x", Item, key="nope"), "has no field 'nope'"),
        (lambda: declared.topic("x", Items, key="items"), "cannot be a key"),
        (lambda: declared.topic("x", str, key="x"), "has none"),
        (lambda: declared.store("x", float, Items), "no bytes of their own"),  # type: ignore[type-var] # wrong on purpose
        (lambda: declared.store("x", str, Items, topic="a b"), "not a legal name"),
        (lambda: declared.store("x", str, Items, commit_every="2"), "not a duration"),
        (lambda: declared.select([]), "has no processor"),
    ):
        with pytest.raises(UsageError) as raised:
            wrong()
        assert told in str(raised.value)
    declared.processor(source)(takes_items)
    with pytest.raises(UsageError, match="two processors"):
        declared.processor(source)(takes_items)
    with pytest.raises(UsageError, match="no processor 'x'"):
        declared.select(["x"])
    declared.store("s", str, Items)
    with pytest.raises(UsageError, match="two stores"):
        declared.store("s", str, Items)


def test_the_topics_and_contracts_of_an_app() -> None:
    declared, source = fresh()
    output = declared.topic("out", Appended, key="key", partitions=2)
    store = declared.store("lists", str, Items, commit_every="2s")
    declared.processor(source, to=output, uses=[store], on_failure=DEAD_LETTER)(takes_items)
    declared.processor(source, on_failure=SKIP)(takes_none)
    specs = {spec.name: spec for spec in declared.topics()}
    assert sorted(specs) == [
        "fresh.takes_items.dlq",
        "fresh.takes_items.lists.changelog",
        "fresh.takes_items.redrive",
        "in",
        "out",
    ]
    assert specs["fresh.takes_items.lists.changelog"].config["cleanup.policy"] == "compact"
    assert specs["fresh.takes_items.lists.changelog"].partitions == 4
    assert int(specs["fresh.takes_items.dlq"].config["max.message.bytes"]) > 1 << 20
    assert dict(declared.contracts()) == {
        "in-value": Item,
        "out-value": Appended,
        "fresh.takes_items.lists.changelog-value": Items,
    }
    every = declared.processors["takes_items"].commit_every
    assert every is not None
    assert every.total_seconds() == 2
    assert declared.processors["takes_none"].commit_every is None
    assert declared.processors["takes_items"].group == "fresh.takes_items"
    assert declared.select(["takes_none"]) == [declared.processors["takes_none"]]
    assert len(declared.select([])) == 2


def test_the_app_decides_what_a_processor_does_not() -> None:
    declared = App("strict", on_failure=STOP)
    source = declared.topic("in", Item, key="key")
    declared.processor(source)(takes_items)
    declared.processor(source, on_failure=SKIP)(takes_none)
    assert declared.processors["takes_items"].on_failure == Failure(None, STOP, pauses=False)
    assert declared.processors["takes_none"].on_failure == Failure(None, SKIP, pauses=False)


def test_a_handler_that_expects_another_event_is_refused() -> None:
    app = App("annotated")
    items = app.topic("items", Item, key="key")

    def swapped(ctx: Context, item: Item) -> None:
        del ctx, item

    with pytest.raises(UsageError, match="processor swapped expects Context, but items holds Item"):
        app.processor(items)(swapped)


def test_a_policy_that_is_none_is_refused() -> None:
    app = App("worded")
    items = app.topic("items", Item, key="key")

    def handle(item: Item, ctx: Context) -> None:
        del ctx, item

    with pytest.raises(UsageError, match="on_failure='STOP'"):
        app.processor(items, on_failure="STOP")(handle)  # type: ignore[arg-type] # wrong on purpose


def test_a_processors_own_commit_interval_counts_before_its_stores() -> None:
    declared, source = fresh()
    store = declared.store("lists", str, Items, commit_every="2s")
    declared.processor(source, uses=[store], commit_every="20ms")(takes_items)
    declared.processor(source, commit_every=timedelta(seconds=1))(takes_none)
    found = {name: one.commit_every for name, one in declared.processors.items()}
    assert found == {"takes_items": timedelta(milliseconds=20), "takes_none": timedelta(seconds=1)}
    inside = declared.in_namespace("mine").processors["takes_none"].commit_every
    assert inside == timedelta(seconds=1)

    async def sends(item: Item, _ctx: Context) -> None:
        del item

    declared.effect(source, commit_every="3s")(sends)
    assert declared.processors["sends"].commit_every == timedelta(seconds=3)
    with pytest.raises(UsageError, match="not a duration"):
        declared.processor(source, commit_every="20")(sends)
