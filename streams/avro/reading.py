"""Generated decoders: one function per pair of writer's and reader's schema, bytes in, models out.

One pass does what a guard, a decoder and a constructor would do in three: it checks every byte of the writer's
schema (fields that the reader drops too), resolves to the reader's schema and builds the models. Trusted
construction is safe because the schema has typed every value; a class with rules of its own is validated.
Positions only ever grow and every read beyond the end fails, so a lying length is caught at the latest by
the comparison of the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from struct import Struct
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from streams.avro import values
from streams.avro.model import FrozenDict, Models
from streams.avro.nodes import (
    Array,
    Enum,
    Field,
    Fixed,
    Logical,
    Map,
    Node,
    Primitive,
    Record,
    Union,
    label,
    parts,
)
from streams.avro.resolution import choose, is_float, matches, nodes_of, referenced_twice, smallest, writer_field
from streams.avro.source import FLOATS, MAX_NESTING, MAX_RECURSION, Source
from streams.avro.wire import HEADER_SIZE
from streams.errors import DecodeError

SHORT: Final = 64  # indexes below it are one byte
MAX_EMPTY_ITEMS: Final = 100_000  # items without bytes in one frame: null, or a record of nothing
FLOAT_MILLIS: Final = 4_000_000_000_000  # milliseconds up to the year 2096 are exact in a double of seconds

Decode = Callable[[Sequence[bytes], list[Any]], None]

SHARED: Final = {
    "DecodeError": DecodeError,
    "FrozenDict": FrozenDict,
    "UTC": UTC,
    "UUID": UUID,
    "epoch": values.EPOCH,
    "moment": datetime.fromtimestamp,
    "new": object.__new__,
    "read_date": values.read_date,
    "read_local_timestamp": values.read_local_timestamp,
    "read_time": values.read_time,
    "read_uuid": values.read_uuid,
    "set_dict": BaseModel.__dict__["__dict__"].__set__,
    "set_extra": BaseModel.__dict__["__pydantic_extra__"].__set__,
    "set_private": BaseModel.__dict__["__pydantic_private__"].__set__,
    "set_fields": BaseModel.__dict__["__pydantic_fields_set__"].__set__,
    "timedelta": timedelta,
    "STEPS": values.STEPS,
    "read_block": values.read_block,
    "read_length": values.read_length,
    "varint": values.read_varint,
}


class Reading:
    """Writes the source of one decoder."""

    def __init__(self, writer: Node, reader: Node, models: Models, header: bytes) -> None:
        self.source = Source()
        self.source.share(**SHARED, HEADER=header)
        self._models = models
        self._shared = referenced_twice(writer)
        self._sizes: dict[int, int] = {}
        self._empty = ", empty" if any(self._is_empty_array(node) for node in nodes_of(writer)) else ""
        self._functions: dict[tuple[int, int], str] = {}
        self._pending: list[Callable[[], None]] = []
        self._depth = "1"
        self._root = writer
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
                return self._read_primitive(writer, reader)
            case Fixed():
                assert reader is None or isinstance(reader, Fixed)
                return self._read_fixed(writer, reader)
            case Enum():
                assert reader is None or isinstance(reader, Enum)
                return self._read_enum(writer, reader)
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

    # --- types without parts

    def _varint(self) -> str:
        """Emit the reading of a raw varint; return its name."""
        raw = self.source.local()
        self.source.add(f"{raw} = f[i]; i += 1", f"if {raw} > 127: {raw}, i = varint(f, i - 1)")
        return raw

    def _bytes(self) -> str:
        """Emit the reading of a length and the bytes behind it; return the expression of the bytes."""
        self.source.add("n = STEPS[f[i]]", "if n: s = i + 1; i += n", "else: s, i = read_length(f, i)")
        return "f[s:i]"

    def _index(self, size: int) -> str:
        """Emit the reading of an enum's or union's index, still raw; return its name.

        Up to 64 choices take one byte: a longer form is none of them.
        """
        if size > SHORT:
            return self._varint()
        raw = self.source.local()
        self.source.add(f"{raw} = f[i]; i += 1")
        return raw

    def _assign(self, expression: str) -> str:
        value = self.source.local()
        self.source.add(f"{value} = {expression}")
        return value

    def _read_primitive(self, writer: Primitive, reader: Primitive | None) -> str:
        match writer.kind:
            case "null":
                return "None"
            case "boolean":
                raw = self._assign("f[i]")
                self.source.add("i += 1", f"if {raw} > 1: raise DecodeError('boolean')")
                return f"({raw} == 1)"
            case "int" | "long":
                return self._read_integer(writer, reader)
            case "float" | "double":
                return self._read_floats([writer.kind])[0]
        return self._read_text(writer, reader)

    def _read_integer(self, writer: Primitive, reader: Primitive | None) -> str:
        raw = self.source.local()
        self.source.add(f"{raw} = f[i]; i += 1")
        with self.source.block(f"if {raw} > 127:"):
            self.source.add(f"{raw}, i = varint(f, i - 1)")
            if writer.kind == "int":
                self.source.add(f"if {raw} >> 32: raise DecodeError('int-range')")
        if reader is None:
            return "None"
        number = self._assign(f"{raw} >> 1 ^ -({raw} & 1)")
        if reader.kind in FLOATS:
            return f"float({number})"
        return self._logical_integer(reader.logical, number)

    def _logical_integer(self, logical: Logical | None, number: str) -> str:
        match logical:
            case None:
                return number
            case Logical(kind="timestamp-millis"):
                exact = f"epoch + timedelta(0, 0, {number} * 1000)"
                return self._assign(f"moment({number} / 1e3, UTC) if 0 <= {number} < {FLOAT_MILLIS} else {exact}")
            case Logical(kind="timestamp-micros"):
                exact = f"epoch + timedelta(0, 0, {number})"
                near = f"0 <= {number} < {FLOAT_MILLIS}000"
                return self._assign(f"moment({number} / 1e6, UTC) if {near} else {exact}")
            case Logical(kind="date"):
                return self._assign(f"read_date({number})")
        function = "read_time" if logical.kind.startswith("time-") else "read_local_timestamp"
        micros = f"{number} * 1000" if logical.kind.endswith("millis") else number
        return self._assign(f"{function}({micros})")

    def _read_floats(self, kinds: Sequence[str]) -> list[str]:
        """Emit one read for a run of floats and doubles."""
        form = Struct("<" + "".join(FLOATS[kind] for kind in kinds))
        names = [self.source.local() for _ in kinds]
        unpack = self.source.constant(form.unpack_from)
        self.source.add(f"{', '.join(names)}, = {unpack}(f, i); i += {form.size}")
        return names

    def _read_text(self, writer: Primitive, reader: Primitive | None) -> str:
        content = self._bytes()
        if writer.kind == "string" and (reader is None or reader.kind == "bytes"):
            self.source.add(f"{content}.decode()")
        if reader is None:
            return "None"
        if reader.kind == "string":
            text = self._assign(f"{content}.decode()")
            return self._assign(f"read_uuid({text})") if reader.logical else text
        return self._decimal(reader.logical, content) if reader.logical else self._assign(content)

    def _decimal(self, logical: Logical, content: str, size: int | None = None) -> str:
        form = self.source.constant(values.DecimalForm(logical.precision, logical.scale, size).read)
        return self._assign(f"{form}({content})")

    def _read_fixed(self, writer: Fixed, reader: Fixed | None) -> str:
        self.source.add(f"s = i; i += {writer.size}")
        if reader is None:
            return "None"
        match reader.logical:
            case Logical(kind="decimal") as logical:
                return self._decimal(logical, "f[s:i]", reader.size)
            case Logical(kind="uuid"):
                return self._assign("UUID(bytes=f[s:i])")
        return self._assign("f[s:i]")

    def _read_enum(self, writer: Enum, reader: Enum | None) -> str:
        raw = self._index(len(writer.symbols))
        if reader is None:
            last = 2 * len(writer.symbols) - 2
            self.source.add(f"if {raw} & 1 or {raw} > {last}: raise DecodeError('enum')")
            return "None"
        member = str if self._models.root is dict else self._models.types[reader.name]
        known = {symbol: member(symbol) for symbol in reader.symbols}
        default = known.get(reader.default or "")
        members = {2 * at: known.get(symbol, default) for at, symbol in enumerate(writer.symbols)}
        table = self.source.constant({raw: value for raw, value in members.items() if value is not None})
        return self._assign(f"{table}[{raw}]")  # a KeyError is told as `enum`

    # --- types with parts

    def _read_union(self, writer: Union, reader: Node | None) -> str:
        source = self.source
        raw, value = self._index(len(writer.branches)), source.local()
        for index, branch in enumerate(writer.branches):
            with source.block(f"{'el' * (index > 0)}if {raw} == {2 * index}:"), source.at(str(index)):
                source.add(f"{value} = {self._read(branch, reader)}")
        source.add("else: raise DecodeError('union')")
        return value

    def _blocks(self, items: int) -> _Blocks:
        return _Blocks(self.source, items)

    def _read_array(self, writer: Array, reader: Array | None) -> str:
        source = self.source
        found = self._assign("[]") if reader else ""
        with source.at("items"), self._blocks(smallest(writer.items, self._sizes)):
            value = self._read(writer.items, reader.items if reader else None)
            source.add(f"{found}.append({value})" if reader else "pass")
        return self._assign(f"tuple({found})") if reader else "None"

    def _read_map(self, writer: Map, reader: Map | None) -> str:
        source = self.source
        found = self._assign("{}")
        with source.at("values"), self._blocks(1 + smallest(writer.values, self._sizes)):
            key = self._assign(f"{self._bytes()}.decode()")
            source.add(f"if {key} in {found}: raise DecodeError('duplicate-key')")
            value = self._read(writer.values, reader.values if reader else None)
            source.add(f"{found}[{key}] = {value}")
        return self._assign(f"FrozenDict({found})") if reader else "None"

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
                    names = self._read_floats([label(field.type) for field in fields])
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
            return self._assign(f"{check}({fields}, from_attributes=True)")
        value = self._assign(f"new({source.constant(model)})")
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
