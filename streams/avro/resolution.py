"""How a reader's type meets a writer's: the rules that decoding and the compatibility check share."""

from __future__ import annotations

from collections import Counter
from typing import Final

from streams.avro.nodes import (
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Named,
    Node,
    Primitive,
    Record,
    Union,
    label,
    parts,
)

PROMOTIONS: Final = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
VARIES: Final = 1  # the smallest size of every type whose size is not fixed
SIZES: Final = {"null": 0, "float": 4, "double": 8}


def same_name(reader: Named, writer: Named) -> bool:
    """Tell whether two named types are the same: equal name without namespace, or one of the reader's aliases."""
    return _short(reader.name) == _short(writer.name) or writer.name in reader.aliases


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def same_meaning(reader: Node, writer: Node) -> bool:
    """Tell whether two logical types can be the same value; a plain type fits any logical one."""
    theirs, ours = getattr(writer, "logical", None), getattr(reader, "logical", None)
    if theirs is None or ours is None:
        return True
    return bool(theirs.kind == ours.kind and theirs.scale == ours.scale)


def matches(reader: Node, writer: Node) -> bool:
    """Tell whether the reader's type is one for the writer's, looking no deeper than the type itself."""
    if not same_meaning(reader, writer):
        return False
    match reader, writer:
        case (Primitive(kind=ours), Primitive(kind=theirs)):
            return ours == theirs or ours in PROMOTIONS.get(theirs, ())
        case (Array(), Array()) | (Map(), Map()):
            return True
        case (Fixed() as ours, Fixed() as theirs):
            return same_name(ours, theirs) and ours.size == theirs.size
        case (Record() as ours, Record() as theirs) | (Enum() as ours, Enum() as theirs):
            return same_name(ours, theirs)
    return False


def choose(reader: Union, writer: Node) -> int | None:
    """Return the index of the reader's branch for a writer's type.

    The very same type comes first, then what it can be read as, each in the order of the branches.
    """
    for index, branch in enumerate(reader.branches):
        if label(branch) == label(writer) and matches(branch, writer):
            return index
    for index, branch in enumerate(reader.branches):
        if matches(branch, writer):
            return index
    return None


def writer_field(reader: Field, writer: Record) -> Field | None:
    """Return the writer's field that becomes the reader's: of the same name, else of one of its aliases."""
    by_name = {field.name: field for field in writer.fields}
    return next((by_name[name] for name in (reader.name, *reader.aliases) if name in by_name), None)


def smallest(node: Node, known: dict[int, int]) -> int:
    """Return the least number of bytes that a value of the type takes; `known` is filled and reused.

    A record that must hold itself counts as nothing: such a value never ends, and the depth guard stops it.
    """
    match node:
        case Primitive():
            return SIZES.get(node.kind, VARIES)
        case Fixed():
            return node.size
        case Record():
            if id(node) not in known:
                known[id(node)] = 0
                known[id(node)] = sum(smallest(part, known) for part in parts(node))
            return known[id(node)]
    return VARIES


def is_float(node: Node) -> bool:
    """Tell whether a value is a float or double: a run of such fields is one read and one write."""
    return isinstance(node, Primitive) and node.kind in ("float", "double")


def nodes_of(root: Node) -> list[Node]:
    """Return every type that a type is made of, itself included, each once."""
    found: dict[int, Node] = {id(root): root}
    pending = [root]
    while pending:
        for part in parts(pending.pop()):
            if id(part) not in found:
                found[id(part)] = part
                pending.append(part)
    return list(found.values())


def referenced_twice(root: Node) -> frozenset[int]:
    """Return the ids of records that occur more than once: generated code makes each a function, never expands it."""
    references = Counter(id(part) for node in nodes_of(root) for part in parts(node) if isinstance(part, Record))
    references[id(root)] += 1
    return frozenset(node for node, number in references.items() if number > 1)
