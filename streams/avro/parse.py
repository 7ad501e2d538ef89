"""JSON → nodes, within limits, every refusal with a JSON pointer. Referenced types are never expanded."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, NoReturn

from streams.avro.nodes import (
    MISSING,
    PRIMITIVES,
    Array,
    Enum,
    Field,
    Fixed,
    Logical,
    Map,
    Named,
    Node,
    Primitive,
    Record,
    Union,
    label,
)

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 64
MAX_NODES: Final = 10_000
MAX_BRANCHES: Final = 256
MAX_FIXED: Final = 1_000_000
MAX_PRECISION: Final = 1_000

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOGICAL: Final = {
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-micros": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-micros": ("long",),
    "decimal": ("bytes", "fixed"),
    "uuid": ("string", "fixed"),
    "duration": ("fixed",),
}
FIXED_SIZES: Final = {"uuid": 16, "duration": 12}


class Refused(Exception):  # noqa: N818 (never leaves this module and `schema`)
    """What is wrong with a schema, and the JSON pointer of the place."""

    def __init__(self, what: str, pointer: str, fix: str = "") -> None:
        super().__init__(what)
        self.what, self.pointer, self.fix = what, pointer, fix


def loads(text: str) -> Any:
    """Read JSON strictly: no duplicate keys, no NaN, no byte order mark, bounded size and nesting."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise Refused(f"schema is larger than {MAX_BYTES:,} bytes", "")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise Refused(f"schema is nested deeper than {MAX_DEPTH} levels", "") from None
    except ValueError as error:
        raise Refused(f"not JSON: {error}", "") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key occurs twice in {{{', '.join(key for key, _ in pairs)}}}")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Parser:
    """One schema's types by full name, filled while the schema is walked once."""

    def __init__(self) -> None:
        self.named: dict[str, Named] = {}
        self._nodes = 0
        self._defaults: list[tuple[Node, Any, str]] = []

    def parse(self, raw: Any) -> Node:
        """Return the root; raise Refused for anything that the Avro specification or a limit forbids."""
        root = self._node(raw, "", "", 1)
        for node, default, pointer in self._defaults:  # last, for a default's type may come later in the text
            if not fits(node, default):
                raise Refused(f"default {json.dumps(default)[:80]} is not a {label(node)}", pointer)
        return root

    def _node(self, raw: Any, pointer: str, namespace: str, depth: int) -> Node:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise Refused(f"schema is nested deeper than {MAX_DEPTH} levels", pointer[:200])
        if self._nodes > MAX_NODES:
            raise Refused(f"schema has more than {MAX_NODES:,} types", pointer)
        match raw:
            case str():
                return self._reference(raw, pointer, namespace)
            case list():
                return self._union(raw, pointer, namespace, depth)
            case {"type": dict() as inner} if len(raw) == 1:
                return self._node(inner, f"{pointer}/type", namespace, depth + 1)
            case {"type": str() as name}:
                return self._complex(name, raw, pointer, namespace, depth)
        raise Refused(f"{json.dumps(raw)[:80]} is not a type", pointer)

    def _reference(self, name: str, pointer: str, namespace: str) -> Node:
        if name in PRIMITIVES:
            return Primitive(name)
        fullname = _qualify(name, namespace)
        if fullname not in self.named:
            raise Refused(f"unknown type {name[:200]!r}", pointer, "define it before its first use")
        return self.named[fullname]

    def _union(self, raw: list[Any], pointer: str, namespace: str, depth: int) -> Node:
        if not 1 <= len(raw) <= MAX_BRANCHES:
            raise Refused(f"a union has from 1 to {MAX_BRANCHES} branches", pointer)
        branches = tuple(
            self._node(branch, f"{pointer}/{index}", namespace, depth + 1) for index, branch in enumerate(raw)
        )
        seen: set[str] = set()
        for index, branch in enumerate(branches):
            if isinstance(branch, Union):
                raise Refused("a union directly inside a union", f"{pointer}/{index}")
            if label(branch) in seen:
                raise Refused(f"a second {label(branch)} in one union", f"{pointer}/{index}")
            seen.add(label(branch))
        return Union(branches)

    def _complex(self, name: str, raw: dict[str, Any], pointer: str, namespace: str, depth: int) -> Node:  # noqa: PLR0911 (one per type)
        match name:
            case "array":
                return Array(self._node(raw.get("items"), f"{pointer}/items", namespace, depth + 1))
            case "map":
                return Map(self._node(raw.get("values"), f"{pointer}/values", namespace, depth + 1))
            case "record" | "error":
                return self._record(raw, pointer, namespace, depth)
            case "enum":
                return self._enum(raw, pointer, namespace)
            case "fixed":
                return self._fixed(raw, pointer, namespace)
        if name in PRIMITIVES:
            return Primitive(name, _logical(raw, name, pointer))
        return self._reference(name, f"{pointer}/type", namespace)

    def _record(self, raw: dict[str, Any], pointer: str, namespace: str, depth: int) -> Record:
        fullname = self._fullname(raw, pointer, namespace)
        inner = fullname.rpartition(".")[0]
        record = Record(fullname, aliases=_aliases(raw, inner, pointer), doc=_doc(raw, pointer))
        self.named[fullname] = record
        fields = raw.get("fields")
        if not isinstance(fields, list):
            raise Refused("a record needs a list of fields", f"{pointer}/fields")
        for index, field in enumerate(fields):
            record.fields.append(self._field(field, f"{pointer}/fields/{index}", inner, depth))
        seen: set[str] = set()
        for index, field in enumerate(record.fields):
            if field.name in seen:
                raise Refused(f"a second field {field.name!r}", f"{pointer}/fields/{index}/name")
            seen.add(field.name)
        return record

    def _field(self, raw: Any, pointer: str, namespace: str, depth: int) -> Field:
        if not isinstance(raw, dict):
            raise Refused("a field is an object with name and type", pointer)
        name = _name(raw.get("name"), f"{pointer}/name")
        node = self._node(raw.get("type"), f"{pointer}/type", namespace, depth + 1)
        if "default" in raw:
            self._defaults.append((node, raw["default"], f"{pointer}/default"))
        aliases = tuple(_name(a, f"{pointer}/aliases") for a in _strings(raw, "aliases", pointer))
        return Field(name, node, raw.get("default", MISSING), aliases, _doc(raw, pointer))

    def _enum(self, raw: dict[str, Any], pointer: str, namespace: str) -> Enum:
        fullname = self._fullname(raw, pointer, namespace)
        symbols = tuple(_name(s, f"{pointer}/symbols") for s in _strings(raw, "symbols", pointer))
        if not symbols or len(set(symbols)) < len(symbols):
            raise Refused("an enum needs symbols, each once", f"{pointer}/symbols")
        default = raw.get("default")
        if default is not None and default not in symbols:
            raise Refused(f"default {default!r} is not one of the symbols", f"{pointer}/default")
        inner = fullname.rpartition(".")[0]
        enum = Enum(fullname, symbols, default, _aliases(raw, inner, pointer), _doc(raw, pointer))
        self.named[fullname] = enum
        return enum

    def _fixed(self, raw: dict[str, Any], pointer: str, namespace: str) -> Fixed:
        fullname = self._fullname(raw, pointer, namespace)
        size = raw.get("size")
        if type(size) is not int or not 1 <= size <= MAX_FIXED:
            raise Refused(f"size of a fixed is a number from 1 to {MAX_FIXED:,}", f"{pointer}/size")
        aliases = _aliases(raw, fullname.rpartition(".")[0], pointer)
        fixed = Fixed(fullname, size, aliases, _logical(raw, "fixed", pointer))
        self.named[fullname] = fixed
        return fixed

    def _fullname(self, raw: dict[str, Any], pointer: str, namespace: str) -> str:
        name, own = raw.get("name"), raw.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(own, str):
            raise Refused("name and namespace are strings", f"{pointer}/name")
        fullname = _qualify(name, own)
        for part in fullname.split("."):
            _name(part, f"{pointer}/name")
        if fullname in PRIMITIVES or fullname in self.named:
            raise Refused(f"type {fullname!r} is defined twice", f"{pointer}/name")
        return fullname


def fits(node: Node, value: Any) -> bool:  # noqa: PLR0911 (one per type)
    """Tell whether a JSON value is a default of the type; a union's default may be of any branch."""
    match node:
        case Primitive(kind=name):
            return _fits_primitive(name, value)
        case Fixed(size=size):
            return _fits_primitive("bytes", value) and len(value) == size
        case Enum(symbols=symbols):
            return value in symbols
        case Array(items=items):
            return isinstance(value, list) and all(fits(items, item) for item in value)
        case Map(values=values):
            return isinstance(value, dict) and all(fits(values, item) for item in value.values())
        case Union(branches=branches):
            return any(fits(branch, value) for branch in branches)
        case Record(fields=fields):
            return isinstance(value, dict) and all(
                fits(f.type, value[f.name]) if f.name in value else f.default is not MISSING for f in fields
            )


def _fits_primitive(name: str, value: Any) -> bool:
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            bits = 31 if name == "int" else 63
            return type(value) is int and -(1 << bits) <= value < 1 << bits
        case "float" | "double":
            return type(value) in (int, float) and isfinite(value)
        case "bytes":
            return isinstance(value, str) and all(ord(char) < 256 for char in value)  # noqa: PLR2004 (latin-1)
    return isinstance(value, str)


def _logical(raw: dict[str, Any], base: str, pointer: str) -> Logical | None:
    """Return the logical type; one that is unknown or stands on another base is ignored, as the spec demands."""
    name = raw.get("logicalType")
    if not isinstance(name, str) or base not in LOGICAL.get(name, ()):
        return None
    if base == "fixed" and name in FIXED_SIZES and raw.get("size") != FIXED_SIZES[name]:
        return None
    if name != "decimal":
        return Logical(name)
    precision, scale = raw.get("precision"), raw.get("scale", 0)
    if type(precision) is not int or not 1 <= precision <= MAX_PRECISION:
        raise Refused(f"precision of a decimal is a number from 1 to {MAX_PRECISION:,}", f"{pointer}/precision")
    if type(scale) is not int or not 0 <= scale <= precision:
        raise Refused("scale of a decimal is a number from 0 to its precision", f"{pointer}/scale")
    return Logical(name, precision, scale)


def _qualify(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _name(raw: Any, pointer: str) -> str:
    if not isinstance(raw, str) or not NAME.fullmatch(raw):
        raise Refused(f"{json.dumps(raw)[:80]} is not a name", pointer, "letters, digits and _, not a digit first")
    return raw


def _strings(raw: dict[str, Any], key: str, pointer: str) -> list[str]:
    found = raw.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Refused(f"{key} is a list of strings", f"{pointer}/{key}")
    return found


def _aliases(raw: dict[str, Any], namespace: str, pointer: str) -> tuple[str, ...]:
    return tuple(_qualify(alias, namespace) for alias in _strings(raw, "aliases", pointer))


def _doc(raw: dict[str, Any], pointer: str) -> str:
    doc = raw.get("doc") or ""
    if not isinstance(doc, str):
        raise Refused("doc is a string", f"{pointer}/doc")
    return doc
