"""The state of one task: the stores it writes and the tables it follows, over one backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, Generic, NamedTuple, TypeVar, cast

from streams.avro.codec import Codec
from streams.errors import HandlerError, UsageError
from streams.failpoints import Failpoint, reach
from streams.keys import Key
from streams.record import RawRecord, TopicPartition
from streams.state.overlay import ABSENT, CACHE_BYTES, Overlay, UndoLog
from streams.state.protocol import StateStore
from streams.state.stamps import Committed, committed_rows
from streams.topic import Store, Table

K = TypeVar("K", bound=Key)
V = TypeVar("V")

CHUNK = 64  # rows that are decoded together when many are read

Declared = Store[Any, Any] | Table[Any, Any]

_DELETIONS = frozenset({type(None)})
_FRAMES = frozenset({bytes, type(None)})


class Changes(NamedTuple):
    """What one store has to commit: rows for its changelog partition, framed, None for a deletion.

    `name` is what the backend calls the store.
    """

    name: str
    changelog: TopicPartition
    rows: list[tuple[bytes, bytes | None]]


class Member(Generic[K, V]):
    """One store or table of a task: its topic partition, its codec, its overlay."""

    def __init__(
        self,
        declared: Store[K, V] | Table[K, V],
        source: TopicPartition,
        codec: Codec[V],
        backend: StateStore,
        undo: UndoLog,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.declared = declared
        self.name = source.topic  # in the backend: a store and a table may go by the same name, their topics differ
        self.source = source
        self.codec = codec
        self.is_table = isinstance(declared, Table)
        self.model = None if isinstance(declared, Table) else declared.model
        key_codec = declared.topic.key_codec if isinstance(declared, Table) else declared.key_codec
        self.encode_key = key_codec.encode
        self.decode_key = key_codec.decode
        self._backend = backend
        self.overlay: Overlay[K, Any] = Overlay(self._load, self.encode_key, undo, cache_bytes)  # values or frames
        self.framed = False  # whether it holds values as frames too, which never are of a model whose values are bytes
        self.doubtful: dict[bytes, int] = {}  # keys whose newest row in the changelog was not committed, see `stamps`

    def _load(self, key: K) -> tuple[V | None, int]:
        raw = self._backend.get(self.name, self.encode_key(key))
        return (None, 0) if raw is None else (self.codec.decode([raw])[0], len(raw))

    def value(self, held: Any) -> V | None:
        """Return a value that the overlay holds as an object."""
        value: V | None = self.codec.decode([held])[0] if self.framed and type(held) is bytes else held
        return value

    def frame(self, key: K) -> bytes | None:
        """Return the newest value of a key as a frame, and hold it so where it was not held."""
        held = self.overlay.live.get(key, ABSENT)
        if held is ABSENT:
            held = self._backend.get(self.name, self.encode_key(key))
            self.overlay.keep(key, held, len(held or b""))
        elif held is not None and type(held) is not bytes:
            (held,) = self.codec.encode([held])
        frame: bytes | None = held
        return frame

    def forget(self, raw_key: bytes) -> None:
        """Let the next read of a key find its new row."""
        try:
            key = cast("K", self.decode_key(raw_key))
        except ValueError:  # whoever writes the topic may write any key; nobody can have asked for this one
            return
        self.overlay.forget(key)

    def changes(self, until: int | None) -> Changes:
        """Serialise every uncommitted key once; then come the doubtful ones up to `until`, as they are committed.

        Raises:
            EncodeError: a value does not fit the schema.
        """
        keys, values = self.overlay.dirty()
        as_they_are = _FRAMES if self.framed else _DELETIONS
        objects: list[Any] = [value for value in values if type(value) not in as_they_are]
        framed: Iterable[bytes | None] = self.codec.encode(objects)
        if len(objects) < len(values):
            frames = iter(framed)
            framed = [value if type(value) in as_they_are else next(frames) for value in values]
        rows = list(zip(keys, framed, strict=True))
        if self.doubtful and until is not None:
            written = {key for key, _ in rows}
            again = [key for key, stamp in self.doubtful.items() if stamp <= until and key not in written]
            rows += [(key, self._backend.get(self.name, key)) for key in again]
        return Changes(self.name, self.source, rows)

    def settle(self, source: int, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Note that rows are committed with an offset: no row up to it is doubtful.

        While others are, these become so too: their stamp is the lower one.
        """
        left = {key: stamp for key, stamp in self.doubtful.items() if stamp > source}
        if left:
            left |= dict.fromkeys((key for key, _ in rows), max(left.values()))
        self.doubtful = left


class TaskState:
    """What the handlers of one task may read and write; empty for a stateless processor.

    Stores follow the exactly-once order: `changes` → Kafka → `committed`; until then everything is in overlays and
    `discard` takes it back. Tables are written as their rows arrive (`follow`) and are never rolled back.
    """

    def __init__(
        self,
        backend: StateStore | None = None,
        sources: Mapping[Declared, TopicPartition] | None = None,
        codecs: Mapping[Declared, Codec[Any]] | None = None,
        foreign: Callable[[bytes], int | None] = lambda _key: None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`foreign` names the partition of a key if it is not this task's own; `cache_bytes` is for each store."""
        self.undo = UndoLog()
        self._backend = backend
        self._foreign = foreign
        self.mark = self.undo.mark
        self.rollback = self.undo.rollback
        self.forget_marks = self.undo.clear
        self._members: dict[Declared, Member[Any, Any]] = {}
        if backend is not None and sources is not None and codecs is not None:
            for declared, source in sources.items():
                self._members[declared] = Member(declared, source, codecs[declared], backend, self.undo, cache_bytes)
        self._by_source = {member.source: member for member in self._members.values()}
        self._committed = Committed()
        self._stores = [member for member in self._members.values() if not member.is_table]

    def get(self, declared: Store[K, V] | Table[K, V], key: K) -> V | None:
        """Return the value of a key.

        Raises:
            UsageError: the processor does not use this store or table.
            HandlerError: the key of a table lives in another partition; the record is refused.
        """
        member = self._members.get(declared) or self._member(declared)
        value: Any = member.overlay.live.get(key, ABSENT)  # what most reads find, without a call
        if value is ABSENT:
            value = member.overlay.get(key)
        if member.framed:
            value = member.value(value)
        if value is None and member.is_table:
            self._check_partition(member, key)
        found: V | None = value
        return found

    def put(self, declared: Store[K, V], key: K, value: V | None) -> None:
        """Set or, with None, delete the value of a key.

        Raises:
            UsageError: the processor does not use this store, or the value is of another model.
            ValueError, TypeError: the key does not fit the store's type of keys.
        """
        member = self._members.get(declared)
        if member is None or type(value) is not member.model:  # perhaps none the less
            member = self._checked(declared, value)
        member.overlay.put(key, value)

    def get_many(self, declared: Store[K, V] | Table[K, V], keys: Iterable[K]) -> list[V | None]:
        """Return the value of each key.

        Raises:
            UsageError, HandlerError: as `get`.
        """
        member, wanted = self._member(declared), list(keys)
        values = [member.value(held) for held in map(member.overlay.get, wanted)]
        self._check_partitions(member, wanted, values)
        return values

    def get_frames(self, declared: Store[K, V] | Table[K, V], keys: Sequence[K]) -> list[bytes | None]:
        """Return the value of each key as a frame, for whoever reads columns of a store whose model has them.

        Raises:
            UsageError, HandlerError: as `get`.
        """
        member = self._member(declared)
        member.framed = True
        frames: list[Any] = list(map(member.overlay.live.get, keys, repeat(ABSENT)))  # what most reads find
        if not {*map(type, frames)} <= _FRAMES:
            frames = list(map(member.frame, keys))
        self._check_partitions(member, keys, frames)
        return frames

    def put_many(self, declared: Store[K, V], values: Iterable[tuple[K, V | None]]) -> None:
        """Set or delete the values of keys; all of them or, where one cannot be, none.

        Raises:
            UsageError, ValueError, TypeError: as `put`.
        """
        wanted, member = dict(values), self._member(declared)
        if not {*map(type, wanted.values())} <= {member.model}:
            for value in wanted.values():
                self._checked(declared, value)
        member.overlay.put_many(wanted)

    def put_frames(self, declared: Store[K, V], frames: Mapping[K, bytes]) -> None:
        """Set the values of keys to what their frames hold, all of them or none; `codec` wrote them.

        Raises:
            UsageError, ValueError, TypeError: as `put`.
        """
        member = self._checked(declared, None)
        member.framed = True
        member.overlay.put_many(frames)

    def codec(self, declared: Store[K, V] | Table[K, V]) -> Codec[V]:
        """Return the codec of a store's or a table's values.

        Raises:
            UsageError: the processor does not use it.
        """
        return self._member(declared).codec

    def check(self, declared: Store[K, V], key: K, value: V | None) -> None:
        """Raise what `put` would raise; it looks at nothing that changes, so any thread may call it."""
        self._checked(declared, value).encode_key(key)  # at the commit it would be everybody's fault, and not its own

    def _checked(self, declared: Store[K, V], value: V | None) -> Member[Any, Any]:
        """Return a store into which the value may be put."""
        member = self._member(declared)
        if member.is_table:
            raise UsageError(f"{declared.name} is a table: its topic's producers write it", fix="put into a store")
        if value is not None and not isinstance(value, declared.model):
            raise UsageError(
                f"store {declared.name} holds {declared.model.__name__}, not {type(value).__name__}",
                fix="put a value of the declared model",
            )
        return member

    def items(self, declared: Store[K, V], after: K | None = None) -> Iterator[tuple[K, V]]:
        """Yield every committed key of a store, or those behind one, in an order that stays, with its newest value.

        That is the uncommitted one where there is one; a key that was deleted meanwhile is left out.
        """
        member = self._member(declared)
        place = None if after is None else member.encode_key(after)
        committed = iter(()) if self._backend is None else self._backend.items(member.name, place)
        while rows := list(islice(committed, CHUNK)):
            values = member.codec.decode([value for _, value in rows])
            for (raw_key, _), value in zip(rows, values, strict=True):
                key = cast("K", member.decode_key(raw_key))
                newest = member.value(member.overlay.newest(key, value))
                if newest is not None:
                    yield key, newest

    def pending(self) -> int:
        """Count the changelog records that a commit would write now."""
        return sum(len(member.overlay) for member in self._stores)

    def changes(self, until: int | None = None) -> list[Changes]:
        """Serialise what is to be committed (INV-3: nothing of it is in the backend yet).

        With the offset `until` of the task's input come the committed values of keys whose newest row never was, as
        far as its stamp is not beyond: with a lower one they would not stand behind it.
        """
        found = [member.changes(until) for member in self._stores if len(member.overlay) or member.doubtful]
        return [change for change in found if change.rows]

    def doubt(self, changes: Sequence[Changes], source: int | None) -> None:
        """Note that changes may be in their topics, stamped with `source`, although they were not committed."""
        for change in changes:
            doubtful = self._by_source[change.changelog].doubtful
            doubtful.update({key: max(source or 0, doubtful.get(key, 0)) for key, _ in change.rows})

    def committed(self, changes: Sequence[Changes], positions: Mapping[str, int], source: int | None = None) -> None:
        """Apply committed changes with the changelog positions behind them, in one write.

        `source` is the offset of the task's input that was committed with them.
        """
        if self._backend is None or not changes:
            return
        sources = {} if source is None else {_newest(change.name): source for change in changes}
        for member in self._stores:
            if member.doubtful:
                member.settle(source or 0, next((change.rows for change in changes if change.name == member.name), ()))
        self._backend.write({change.name: change.rows for change in changes}, {**self._sure(positions), **sources})
        reach(Failpoint.STATE_WRITTEN)
        for member in self._stores:
            rows = next((change.rows for change in changes if change.name == member.name), None)
            if rows is not None:
                member.overlay.committed([len(value) if value else 0 for _, value in rows[: len(member.overlay)]])
        self.forget_marks()

    def discard(self) -> None:
        """Forget what is not committed."""
        for member in self._stores:
            member.overlay.discard()
        self.forget_marks()

    def sources(self) -> dict[TopicPartition, int | None]:
        """Say from where each changelog and table has to be read on: an offset, or None for the beginning."""
        backend = self._backend
        return {} if backend is None else {m.source: backend.position(m.name) for m in self._members.values()}

    def is_table(self, source: TopicPartition) -> bool:
        """Tell a table's topic, which is followed for ever, from a changelog, which is only restored."""
        return self._by_source[source].is_table

    def restore_until(self, committed: int | None, committed_back: int | None = None) -> None:
        """Say which offsets of the task's input and of what came back are committed: rows beyond them never were."""
        self._committed = Committed(committed or 0, committed_back or 0)

    def follow(self, source: TopicPartition, records: Sequence[RawRecord], position: int) -> None:
        """Write rows read from a changelog or table topic, with the position behind them, in one write."""
        assert self._backend is not None
        member = self._by_source[source]
        positions = {member.name: position}
        if not member.is_table:
            newest = self._backend.position(_newest(member.name)) or 0
            records, newest = committed_rows(records, newest, self._committed, member.doubtful)
            positions = {**self._sure(positions), _newest(member.name): newest}
        rows = [(record.key, record.value) for record in records if record.key is not None]
        self._backend.write({member.name: rows}, positions)
        for key, _ in rows if member.overlay.live else ():  # while a changelog is read nothing is
            member.forget(key)

    def wipe(self) -> None:
        """Forget every row and position, because a topic no longer continues them."""
        assert self._backend is not None
        self._backend.wipe()
        for member in self._stores:
            member.doubtful.clear()

    def close(self) -> None:
        """Close cleanly; uncommitted writes are gone."""
        if self._backend is not None:
            self._backend.close()

    def _sure(self, positions: Mapping[str, int]) -> dict[str, int]:
        """Leave out changelogs with doubtful rows: another process has to come across them if this one dies."""
        doubtful = {member.name for member in self._stores if member.doubtful}
        return {name: position for name, position in positions.items() if name not in doubtful}

    def _member(self, declared: Declared) -> Member[Any, Any]:
        try:
            return self._members[declared]
        except KeyError:
            raise UsageError(
                f"the handler uses {declared.name}, which its processor does not declare",
                fix="refer to it by its global name in the handler, or add it to uses=[…]",
            ) from None

    def _check_partitions(self, member: Member[Any, Any], keys: Iterable[Key], values: Iterable[object]) -> None:
        if member.is_table:
            for key, value in zip(keys, values, strict=True):
                if value is None:
                    self._check_partition(member, key)

    def _check_partition(self, member: Member[Any, Any], key: Key) -> None:
        elsewhere = self._foreign(member.encode_key(key))
        if elsewhere is not None:
            raise HandlerError(
                f"table {member.declared.name} has key {key!r} in partition {elsewhere}, this task reads partition "
                f"{member.source.partition}: key the processor's input by the field that is looked up, and produce it "
                "with murmur2"
            )


def _newest(name: str) -> str:
    """Name the position that the store keeps of the task's input, beside the one in its changelog."""
    return f"{name} source"
