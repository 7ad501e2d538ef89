"""Generated decoders: one function per pair of writer's and reader's schema, bytes in, models out.

One pass does what a guard, a decoder and a constructor would do in three: it checks every byte of the writer's
schema (fields that the reader drops too), resolves to the reader's schema and builds the models. Trusted
construction is safe because the schema has typed every value; a class with rules of its own is validated.
Positions only ever grow and every read beyond the end fails, so a lying length is caught at the latest by
the comparison of the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from streams.avro import construction, values
from streams.avro.leaves import Leaves
from streams.avro.model import FrozenDict, Models
from streams.avro.nodes import (
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Node,
    Primitive,
    Record,
    Union,
    label,
    parts,
)
from streams.avro.resolution import choose, is_float, matches, nodes_of, referenced_twice, smallest, writer_field
from streams.avro.source import MAX_NESTING, MAX_RECURSION, Source
from streams.avro.wire import HEADER_SIZE
from streams.errors import DecodeError

MAX_EMPTY_ITEMS: Final = 100_000  # items without bytes in one frame: null, or a record of nothing

Decode = Callable[[Sequence[bytes], list[Any]], None]

SHARED: Final = {
    "DecodeError": DecodeError,
    "FrozenDict": FrozenDict,
    "new": construction.new,
    "read_block": values.read_block,
    "set_dict": construction.set_dict,
    "set_extra": construction.set_extra,
    "set_fields": construction.set_fields,
    "set_private": construction.set_private,
}


class Reading:
    """Writes the source of one decoder."""

    def __init__(self, writer: Node, reader: Node, models: Models, header: bytes) -> None:
        self.source = Source()
        self.source.share(**SHARED, HEADER=header)
        self._leaves = Leaves(self.source, models)
        self._models = models
        self._shared = referenced_twice(writer)
        self._sizes: dict[int, int] = {}
        self._empty = ", empty" if any(self._is_empty_array(node) for node in nodes_of(writer)) else ""
        self._functions: dict[tuple[int, int], str] = {}
        self._pending: list[Callable[[], None]] = []
        self._depth = "1"
        self._entry(writer, reader)
        while self._pending:
            self._pending.pop()()

    def compile(self) -> Decode:
        """Return `decode(frames, values)`: appends values, stops at the first frame of another schema id."""
        return self.source.compile("decode")

    def _is_empty_array(self, node: Node) -> bool:
        """Tell whether an array's items may take no bytes, so that only a budget bounds their number."""
        return isinstance(node, Array) and not smallest(node.items, self._sizes)

    def _entry(self, writer: Node, reader: Node) -> None:
        source = self.source
        with source.block("def decode(frames, out):"):
            source.add("add = out.append")
            with source.block("for f in frames:"):
                source.add(f"if f[:{HEADER_SIZE}] != HEADER: return", f"i = {HEADER_SIZE}; end = len(f)")
                if self._empty:
                    source.add(f"empty = [{MAX_EMPTY_ITEMS}]")
                value = self._read(writer, reader, root=True)
                source.add("if i != end: raise DecodeError('truncated' if i > end else 'trailing-bytes')")
                source.add(f"add({value})")

    def _read(self, writer: Node, reader: Node | None, *, root: bool = False) -> str:
        """Emit the reading of one value; return the expression of what the reader gets, None for a dropped one."""
        if isinstance(writer, Union):
            return self._read_union(writer, reader)
        if isinstance(reader, Union):
            index = choose(reader, writer)
            if index is None:
                return self._mismatch(writer, reader)
            reader = reader.branches[index]
        if reader is not None and not matches(reader, writer):
            return self._mismatch(writer, reader)
        if self._is_function(writer, root=root):
            return self._call(writer, reader)
        return self._inline(writer, reader, root=root)

    def _inline(self, writer: Node, reader: Node | None, *, root: bool = False) -> str:
        match writer:
            case Primitive():
                assert reader is None or isinstance(reader, Primitive)
                return self._leaves.primitive(writer, reader)
            case Fixed():
                assert reader is None or isinstance(reader, Fixed)
                return self._leaves.fixed(writer, reader)
            case Enum():
                assert reader is None or isinstance(reader, Enum)
                return self._leaves.enum(writer, reader)
            case Array():
                assert reader is None or isinstance(reader, Array)
                return self._read_array(writer, reader)
            case Map():
                assert reader is None or isinstance(reader, Map)
                return self._read_map(writer, reader)
            case Record():
                assert reader is None or isinstance(reader, Record)
                return self._read_record(writer, reader, root=root)
        raise AssertionError(writer)

    def _mismatch(self, writer: Node, reader: Node) -> str:
        """Emit a refusal that only a value of this very type meets: a union may never hold the branch."""
        why = self.source.constant(f"{label(writer)} cannot be read as {label(reader)}")
        self.source.add(f"raise DecodeError('schema-incompatible', {why})")
        return "None"

    # --- functions: for types that are used twice or hold themselves, and where Python's nesting ends

    def _is_function(self, writer: Node, *, root: bool) -> bool:
        if root or not parts(writer):
            return False
        return id(writer) in self._shared or self.source.nesting > MAX_NESTING

    def _call(self, writer: Node, reader: Node | None) -> str:
        key = id(writer), id(reader)
        if key not in self._functions:
            self._functions[key] = f"read{len(self._functions)}"
            path, name = self.source.path, self._functions[key]
            self._pending.append(lambda: self._function(name, path, writer, reader))
        value = self.source.local()
        self.source.add(f"{value}, i = {self._functions[key]}(f, i, end, {self._depth}{self._empty})")
        return value

    def _function(self, name: str, path: str, writer: Node, reader: Node | None) -> None:
        source = self.source
        source.nesting, source.path = 0, path
        self._depth = "depth + 1"
        with source.block(f"def {name}(f, i, end, depth{self._empty}):"):
            source.add(f"if depth > {MAX_RECURSION}: raise DecodeError('depth', 'over {MAX_RECURSION} levels')")
            source.add(f"return {self._inline(writer, reader)}, i")

    # --- types with parts

    def _read_union(self, writer: Union, reader: Node | None) -> str:
        source = self.source
        raw, value = self._leaves.index(len(writer.branches)), source.local()
        for index, branch in enumerate(writer.branches):
            with source.block(f"{'el' * (index > 0)}if {raw} == {2 * index}:"), source.at(str(index)):
                source.add(f"{value} = {self._read(branch, reader)}")
        source.add("else: raise DecodeError('union')")
        return value

    def _blocks(self, items: int) -> _Blocks:
        return _Blocks(self.source, items)

    def _read_array(self, writer: Array, reader: Array | None) -> str:
        source = self.source
        found = self._leaves.assign("[]") if reader else ""
        with source.at("items"), self._blocks(smallest(writer.items, self._sizes)):
            value = self._read(writer.items, reader.items if reader else None)
            source.add(f"{found}.append({value})" if reader else "pass")
        return self._leaves.assign(f"tuple({found})") if reader else "None"

    def _read_map(self, writer: Map, reader: Map | None) -> str:
        source = self.source
        found = self._leaves.assign("{}")
        with source.at("values"), self._blocks(1 + smallest(writer.values, self._sizes)):
            key = self._leaves.assign(f"{self._leaves.content()}.decode()")
            source.add(f"if {key} in {found}: raise DecodeError('duplicate-key')")
            value = self._read(writer.values, reader.values if reader else None)
            source.add(f"{found}[{key}] = {value}")
        return self._leaves.assign(f"FrozenDict({found})") if reader else "None"

    def _read_record(self, writer: Record, reader: Record | None, *, root: bool) -> str:
        if reader is None:
            self._read_fields(writer, {})
            return "None"
        known: dict[str, Field] = {}
        for field in reader.fields:
            theirs = writer_field(field, writer)
            if theirs is not None:
                known.setdefault(theirs.name, field)
        found = self._read_fields(writer, known)
        if self._models.root is dict:
            return f"{{{', '.join(f'{name!r}: {value}' for name, value in found.items())}}}"
        model = self._models.root if root else self._models.types[reader.name]
        return self._build(model, reader, found, validate=root and self._models.validate)

    def _read_fields(self, writer: Record, known: Mapping[str, Field]) -> dict[str, str]:
        """Emit all fields in the writer's order; return the expressions of those that the reader knows."""
        found: dict[str, str] = {}
        for floats, run in groupby(writer.fields, lambda field: _stays_float(field, known)):
            fields = list(run)
            if floats:
                with self.source.at(",".join(field.name for field in fields)):
                    names = self._leaves.floats([label(field.type) for field in fields])
                found.update(zip((field.name for field in fields), names, strict=True))
                continue
            for field in fields:
                target = known.get(field.name)
                with self.source.at(field.name):
                    found[field.name] = self._read(field.type, target.type if target else None)
        return {known[name].name: value for name, value in found.items() if name in known}

    def _build(self, model: type[Any], reader: Record, found: dict[str, str], *, validate: bool) -> str:
        source = self.source
        pairs = []
        for name, field in model.model_fields.items():
            at = field.alias or name
            if at not in found:
                if field.is_required():
                    why = source.constant(f"the writer's schema lacks {reader.name}.{at}, which has no default")
                    source.add(f"raise DecodeError('schema-incompatible', {why})")
                    return "None"
                found[at] = source.constant(field.get_default(call_default_factory=True))
            pairs.append(f"{name!r}: {found[at]}")
        fields = f"{{{', '.join(pairs)}}}"
        if validate:
            check = source.constant(model.model_validate)
            return self._leaves.assign(f"{check}({fields}, from_attributes=True)")
        value = self._leaves.assign(f"new({source.constant(model)})")
        source.add(f"set_dict({value}, {fields})")
        source.add(f"set_fields({value}, {source.constant(set(model.model_fields))})")
        source.add(f"set_extra({value}, None); set_private({value}, None)")
        return value


class _Blocks:
    """The loops around the items of an array or map: blocks until an empty one, items within a block."""

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._size = source, size

    def __enter__(self) -> None:
        source = self._source
        self._nesting = source.nesting
        source.add("while True:")
        source.nesting += 1
        number, self._stop = source.local(), source.local()
        source.add(f"{number} = STEPS[f[i]]; {self._stop} = 0", f"if {number}: i += 1; {number} -= 1")
        source.add(f"else: {number}, i, {self._stop} = read_block(f, i)")
        source.add(f"if not {number}: break")
        if self._size:
            source.add(f"if {number} > (end - i) // {self._size}: raise DecodeError('block-count')")
        else:
            source.add(f"empty[0] -= {number}", "if empty[0] < 0: raise DecodeError('block-count')")
        source.add(f"for _ in range({number}):")
        source.nesting += 1

    def __exit__(self, *_: object) -> None:
        source = self._source
        source.nesting = self._nesting + 1
        source.add(f"if {self._stop} and i != {self._stop}: raise DecodeError('block-size')")
        source.nesting = self._nesting


def _stays_float(writer: Field, known: Mapping[str, Field]) -> bool:
    reader = known.get(writer.name)
    return is_float(writer.type) and (reader is None or (is_float(reader.type) and matches(reader.type, writer.type)))
