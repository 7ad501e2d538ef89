"""Generated encoders: one function per model, models in, framed bytes out.

Pydantic has checked a model's fields when it was built, but a model can be made without checks: whatever does not
fit the schema raises here, and nothing is written with a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from struct import Struct
from typing import Any, Final
from uuid import UUID

from streams.avro import values
from streams.avro.model import Models
from streams.avro.nodes import Array, Enum, Fixed, Logical, Map, Node, Primitive, Record, Union, kind, label
from streams.avro.pythontypes import python_type, refuse_ambiguous
from streams.avro.resolution import is_float, referenced_twice
from streams.avro.source import FLOATS, MAX_NESTING, MAX_RECURSION, Source, tuple_of

Encode = Callable[[Sequence[Any], list[bytes]], None]

TABLE: Final = len(values.COUNTS)
SHARED: Final = {
    "CONTINUED": values.CONTINUED,
    "COUNTS": values.COUNTS,
    "EVEN": values.CONTINUED[::2],
    "Mapping": Mapping,
    "VARINTS": values.VARINTS,
    "count": values.count,
    "epoch": values.EPOCH,
    "int32": values.int32,
    "int64": values.int64,
    "naive_epoch": values.NAIVE_EPOCH,
    "write_date": values.write_date,
    "write_time": values.write_time,
    "write_varint": values.write_varint,
}


class Writing:
    """Writes the source of one encoder."""

    def __init__(self, root: Node, models: Models, header: bytes) -> None:
        self.source = Source()
        self.source.share(**SHARED)
        self._models = models
        self._shared = referenced_twice(root)
        self._functions: dict[int, str] = {}
        self._pending: list[Callable[[], None]] = []
        self._depth = "1"
        self._entry(root, header)
        while self._pending:
            self._pending.pop()()

    def compile(self) -> Encode:
        """Return `encode(values, out)`: appends one frame for each value."""
        return self.source.compile("encode")

    def _entry(self, root: Node, header: bytes) -> None:
        source = self.source
        with source.block("def encode(values, out):"):
            source.add("add = out.append")
            with source.block("for v in values:"):
                self._check_root(root)
                pieces = self._inline(root, "v", checked=True)
                source.add(f"add(b''.join({tuple_of([source.constant(header), *pieces])}))")

    def _check_root(self, root: Node) -> None:
        self._check("v", self._models.root)
        if kind(root) in ("long", "double"):
            self.source.add("if v.__class__ is bool: raise TypeError('bool is not a number')")

    def _check(self, value: str, expected: type[Any]) -> None:
        exact = self.source.constant(expected)
        allowed = self.source.constant((float, int)) if expected is float else exact
        wrong = f"raise TypeError(f'{{type({value}).__name__}} is not {{{exact}.__name__}}')"
        self.source.add(f"if {value}.__class__ is not {exact} and not isinstance({value}, {allowed}): {wrong}")

    def _write(self, node: Node, value: str) -> list[str]:
        """Emit what must be computed first; return the expressions of the bytes, in order."""
        if id(node) not in self._shared and self.source.nesting <= MAX_NESTING:
            return self._inline(node, value)
        if not isinstance(node, Record | Array | Map | Union):
            return self._inline(node, value)
        if id(node) not in self._functions:
            self._functions[id(node)] = f"write{len(self._functions)}"
            path, name = self.source.path, self._functions[id(node)]
            self._pending.append(lambda: self._function(name, path, node))
        return [self._assign(f"{self._functions[id(node)]}({value}, {self._depth})")]

    def _function(self, name: str, path: str, node: Node) -> None:
        source = self.source
        source.nesting, source.path = 0, path
        self._depth = "depth + 1"
        with source.block(f"def {name}(v, depth):"):
            source.add(f"if depth > {MAX_RECURSION}: raise ValueError('nested over {MAX_RECURSION} levels')")
            source.add(f"return {self._joined(self._inline(node, 'v'))}")

    def _inline(self, node: Node, value: str, *, checked: bool = False) -> list[str]:  # noqa: PLR0911 (one per type)
        match node:
            case Primitive():
                return self._write_primitive(node, value)
            case Fixed():
                return self._write_fixed(node, value)
            case Enum():
                return [self._assign(f"{self._symbols(node)}[{value}]")]
            case Array():
                return [self._write_array(node, value)]
            case Map():
                return [self._write_map(node, value)]
            case Union():
                return [self._write_union(node, value)]
            case Record():
                return self._write_record(node, value, checked=checked)

    def _assign(self, expression: str) -> str:
        name = self.source.local()
        self.source.add(f"{name} = {expression}")
        return name

    def _joined(self, pieces: list[str]) -> str:
        if len(pieces) == 1:
            return pieces[0]
        return f"b''.join({tuple_of(pieces)})" if pieces else "b''"

    # --- types without parts

    def _sized(self, content: str) -> list[str]:
        size = self._assign(f"len({content})")
        return [f"COUNTS[{size}] if {size} < {TABLE} else count({size})", content]

    def _write_primitive(self, node: Primitive, value: str) -> list[str]:  # noqa: PLR0911 (one per type)
        match node.kind:
            case "null":
                self.source.add(f"if {value} is not None: raise TypeError('not None')")
                return []
            case "boolean":
                flags = self.source.constant({True: b"\1", False: b"\0"})
                return [self._assign(f"{flags}[{value}]")]
            case "int" | "long":
                return self._write_integer(node, value)
            case "float" | "double":
                return [self._write_floats([node.kind], [value])]
            case "bytes" if node.logical:
                return self._sized(self._decimal(node.logical, value))
            case "bytes":
                self._check(value, bytes)
                return self._sized(value)
        if node.logical:
            self._check(value, UUID)
            return self._sized(self._assign(f"str({value}).encode()"))
        return self._sized(self._assign(f"{value}.encode()"))

    def _write_integer(self, node: Primitive, value: str) -> list[str]:
        if node.logical is None:
            number = self._assign(value)
            convert = "int32" if node.kind == "int" else "int64"
            return [self._assign(f"COUNTS[{number}] if 0 <= {number} < {TABLE} else {convert}({number})")]
        name = node.logical.kind
        if name == "date":
            return [self._assign(f"int32(write_date({value}))")]
        if name.startswith("time-"):
            return [self._assign(f"int64(write_time({value}){' // 1000' if name.endswith('millis') else ''})")]
        since = self._assign(f"{value} - {'naive_epoch' if name.startswith('local') else 'epoch'}")
        unit, rest = (1_000, " // 1000") if name.endswith("millis") else (1_000_000, "")
        parts = f"{since}.days * {86_400 * unit} + {since}.seconds * {unit} + {since}.microseconds{rest}"
        return self._moment(self._assign(parts), 2 if name.endswith("millis") else 3)

    def _moment(self, number: str, pairs: int) -> list[str]:
        """Emit a number that is mostly so many pairs of bytes and one or two more: today's timestamps are.

        The lowest bit is the sign's, so the first pair holds one less of the number's own.
        """
        low = 14 * pairs - 1
        middle = [f"CONTINUED[{number} >> {shift} & 16383]" for shift in range(13, low, 14)]
        usual = [f"EVEN[{number} & 8191]", *middle, f"VARINTS[{number} >> {low}]"]
        pieces = [self.source.local() for _ in usual]
        self.source.add(
            f"if {1 << low} <= {number} < {1 << low + 14}: {', '.join(pieces)} = {', '.join(usual)}",
            f"else: {' = '.join(pieces[1:])} = b''; {pieces[0]} = write_varint({number} << 1 ^ {number} >> 63)",
        )
        return pieces

    def _write_floats(self, kinds: Sequence[str], numbers: Sequence[str]) -> str:
        pack = self.source.constant(Struct("<" + "".join(FLOATS[kind] for kind in kinds)).pack)
        return self._assign(f"{pack}({', '.join(numbers)})")

    def _decimal(self, logical: Logical, value: str, size: int | None = None) -> str:
        form = self.source.constant(values.DecimalForm(logical.precision, logical.scale, size).write)
        return self._assign(f"{form}({value})")

    def _write_fixed(self, node: Fixed, value: str) -> list[str]:
        match node.logical:
            case Logical(kind="decimal") as logical:
                return [self._decimal(logical, value, node.size)]
            case Logical(kind="uuid"):
                return [self._assign(f"{value}.bytes")]
        self._check(value, bytes)
        self.source.add(f"if len({value}) != {node.size}: raise ValueError('not {node.size} bytes')")
        return [value]

    def _symbols(self, node: Enum) -> str:
        return self.source.constant({symbol: values.count(at) for at, symbol in enumerate(node.symbols)})

    # --- types with parts

    def _write_array(self, node: Array, value: str) -> str:
        found = self._assign(value)
        listed = f"{found}.__class__ is tuple or {found}.__class__ is list"
        self.source.add(f"if not ({listed}): raise TypeError(f'{{type({found}).__name__}} is not tuple')")
        with self.source.at("items"):
            return self._write_items(found, found, lambda item: self._write(node.items, item))

    def _write_map(self, node: Map, value: str) -> str:
        found = self._assign(value)
        self._check(found, Mapping)

        def pair(item: str) -> list[str]:
            key = self._assign(f"{item}[0].encode()")
            return [*self._sized(key), *self._write(node.values, self._assign(f"{item}[1]"))]

        with self.source.at("values"):
            return self._write_items(found, f"{found}.items()", pair)

    def _write_items(self, found: str, items: str, write: Callable[[str], list[str]]) -> str:
        source = self.source
        out, item = source.local(), source.local()
        with source.block(f"if {found}:"):
            source.add(f"{out} = [count(len({found}))]")
            with source.block(f"for {item} in {items}:"):
                pieces = write(item)
                source.add(f"{out} += {tuple_of(pieces)}")
            source.add(f"{out}.append(b'\\0')", f"{out} = b''.join({out})")
        source.add(f"else: {out} = b'\\0'")
        return out

    def _write_union(self, node: Union, value: str) -> str:
        source = self.source
        refuse_ambiguous(node)
        found, out = self._assign(value), source.local()
        for index, branch in enumerate(node.branches):
            with source.block(f"{'el' * (index > 0)}if {self._is_of(branch, found)}:"), source.at(str(index)):
                tag = source.constant(values.count(index))
                source.add(f"{out} = {self._joined([tag, *self._write(branch, found)])}")
        source.add(f"else: raise TypeError(f'no branch of the union takes {{type({found}).__name__}}')")
        return out

    def _is_of(self, branch: Node, value: str) -> str:
        match branch:
            case Primitive(kind="null"):
                return f"{value} is None"
            case Record():
                return f"isinstance({value}, {self.source.constant(self._models.types[branch.name])})"
            case Array():
                return f"isinstance({value}, (tuple, list))"
            case Map():
                return f"isinstance({value}, Mapping)"
            case Enum():
                return f"{value}.__class__ is {self.source.constant(self._models.types[branch.name])}"
        assert isinstance(branch, Primitive | Fixed)
        return f"{value}.__class__ is {self.source.constant(python_type(branch))}"

    def _write_record(self, node: Record, value: str, *, checked: bool) -> list[str]:
        source = self.source
        model = self._models.root if checked else self._models.types[node.name]
        if not checked:
            self._check(value, model)
        attributes = {field.alias or name: name for name, field in model.model_fields.items()}
        content = self._assign(f"{value}.__dict__")
        pieces: list[str] = []
        for floats, run in groupby(node.fields, lambda field: is_float(field.type)):
            fields = list(run)
            found = [f"{content}[{attributes[field.name]!r}]" for field in fields]
            if floats:
                with source.at(",".join(field.name for field in fields)):
                    pieces.append(self._write_floats([label(field.type) for field in fields], found))
                continue
            for field, expression in zip(fields, found, strict=True):
                with source.at(field.name):
                    pieces += self._write(field.type, self._assign(expression))
        return pieces
