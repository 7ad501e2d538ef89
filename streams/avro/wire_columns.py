"""Bodies of one writer's schema read into Arrow columns of their wire's shape, and the guard that makes that exact.

For rows as models: `native` gives people columns with types of their own, this gives `columns` what decoding is made
of. The library is asked for nothing but longs, doubles, texts and what is made of them, so it meets no type that it
panics on and cuts no number; what values mean is decided here and in `columns`. The guard only adds up sizes, which is
cheaper than to encode again, and takes no thread. What it cannot vouch for is refused: the strict decoder has the word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count, islice
from operator import itemgetter
from typing import Any, Final

from streams.avro.native import DistrustedError, check_panic, library
from streams.avro.nodes import Array, Enum, Fixed, Map, Node, Primitive, Record, Union, label
from streams.avro.wire import HEADER_SIZE

MAX_TYPES: Final = 1_000  # of a schema written out; a type that occurs twice counts twice
MAX_DEPTH: Final = 32
MAX_BYTES: Final = 1 << 30  # of a batch: Arrow's offsets have 31 bits

INT: Final = 1 << 31
LONG: Final = 1 << 62  # from here on a varint has ten bytes, and the library drops what lies above 64 bits

Check = Callable[[Any, list[Any]], int]

BODY: Final = itemgetter(slice(HEADER_SIZE, None))


def why_not(root: Node) -> str | None:
    """Return why values of a type cannot be read natively, or None if they can."""
    if library("pyarrow") is None or library("pyruhvro") is None:
        return "pyruhvro is not installed"
    return _shape_refused(root, (), count(1))


def _shape_refused(node: Node, above: tuple[int, ...], types: count[int]) -> str | None:
    refused = None
    if id(node) in above:
        return f"{label(node)} holds itself"
    if len(above) > MAX_DEPTH or next(types) > MAX_TYPES:
        return f"over {MAX_DEPTH} levels or {MAX_TYPES:,} types"
    match node:
        case Fixed():
            refused = f"{label(node)} is a fixed"
        case Primitive(kind="null"):
            refused = "null outside of an optional"
        case Record(fields=[]):
            refused = f"{label(node)} has no fields"
        case Union() if not _is_optional(node):
            refused = "a union of several types"
    if refused:
        return refused
    return next(filter(None, (_shape_refused(part, (*above, id(node)), types) for part in _parts(node))), None)


def _parts(node: Node) -> Sequence[Node]:
    match node:
        case Array(items=part) | Map(values=part):
            return (part,)
        case Record(fields=fields):
            return [field.type for field in fields]
        case Union():
            return [part for part in node.branches if not is_null(part)]
    return ()


def is_null(node: Node) -> bool:
    """Tell whether a type is null."""
    return isinstance(node, Primitive) and node.kind == "null"


def _is_optional(union: Union) -> bool:
    match union.branches:
        case (first, second):
            return is_null(first) != is_null(second)
    return False


class WireReader:
    """Reads bodies of one writer's schema, a batch in one call; made only where `why_not` gives None."""

    def __init__(self, root: Node) -> None:
        self._schema = json.dumps({"type": "record", "name": "Body", "fields": [_field(root, count(1))]})
        self._check = _check(root)
        self._panicked = False

    def read(self, frames: Sequence[bytes]) -> Any:
        """Return the values of frames as one Arrow array: a struct for a record, by the fields' places.

        Numbers are int64 whatever they mean, enums their index, `bytes` are strings that are no UTF-8 (view them as
        binary); nothing has a logical type. The frames' headers are not looked at.

        Raises:
            DistrustedError: some frame is malformed, or written in a form that the guard does not vouch for.
        """
        size = sum(map(len, frames))
        if self._panicked or size > MAX_BYTES:
            raise DistrustedError("too large, or the library panicked before")
        try:
            found = library("pyruhvro").deserialize_array(list(map(BODY, frames)), self._schema).column(0)
            vouched = self._size(found)
        except BaseException as error:
            check_panic(error)
            self._panicked |= not isinstance(error, Exception)  # what it left behind is not trusted either
            raise DistrustedError(str(error)) from error
        if vouched != size - HEADER_SIZE * len(frames):
            raise DistrustedError("some value is not in its one form, or bytes follow it")
        return found

    def _size(self, column: Any) -> int:
        sizes: list[Any] = []
        return self._check(column, sizes) + (
            _numbers(library("pyarrow").concat_arrays(sizes), -INT, INT) if sizes else 0
        )


def _field(node: Node, names: count[int]) -> dict[str, Any]:
    return {"name": f"f{next(names)}", "type": _wire(node, names)}


def _wire(node: Node, names: count[int]) -> Any:  # noqa: PLR0911 (one per type)
    """Return the shape of a type on the wire as a schema of our own: no names, no meaning."""
    match node:
        case Primitive(kind="int" | "long") | Enum():
            return "long"
        case Primitive(kind="bytes"):
            return "string"
        case Primitive(kind=kind):
            return kind
        case Array(items=part):
            return {"type": "array", "items": _wire(part, names)}
        case Map(values=part):
            return {"type": "map", "values": _wire(part, names)}
        case Union(branches=branches):
            return [_wire(part, names) for part in branches]
        case Record(fields=fields):
            name = f"R{next(names)}"
            return {"type": "record", "name": name, "fields": [_field(field.type, names) for field in fields]}
    raise AssertionError(node)


# --- the guard. A check returns how many bytes the values of a column take in their one canonical form. What was read
# took at least as many in every frame, and no frame has more than it has: if the sums are equal, each frame was
# canonical to its last byte. Lengths and counts are gathered and measured together: a call of Arrow's costs 5 us.


def _check(node: Node) -> Check:  # noqa: C901, PLR0911 (one per type)
    match node:
        case Primitive(kind="boolean"):
            return lambda column, _: len(column)
        case Primitive(kind="float" | "double" as kind):
            width = 4 if kind == "float" else 8
            return lambda column, _: width * len(column)
        case Primitive(kind="int"):
            return lambda column, _: _numbers(column, -INT, INT)
        case Primitive(kind="long"):
            return lambda column, _: _numbers(column, -LONG, LONG)
        case Enum(symbols=symbols):
            return lambda column, _: _numbers(column, 0, len(symbols))
        case Primitive(kind=kind):
            return _texts if kind == "string" else _contents
        case Array(items=part):
            return _arrays(_check(part))
        case Map(values=part):
            return _maps(_check(part))
        case Record(fields=fields):
            return _records([_check(field.type) for field in fields])
        case Union():
            return _optionals(_check(_parts(node)[0]))
    raise AssertionError(node)


def extremes(column: Any) -> tuple[Any, Any] | None:
    """Return the least and the greatest of a column of numbers, None for an empty one."""
    found = _call("min_max", column)
    least = found["min"].as_py()
    return None if least is None else (least, found["max"].as_py())


def lengths(column: Any) -> Any:
    """Return the numbers of items of a column of arrays or maps that has no nulls."""
    ends = column.offsets
    return _call("subtract", ends.slice(1), ends.slice(0, len(column)))


def divided(column: Any, divisor: int) -> Any:
    """Return numbers below 2^53 divided as Python does it."""
    double = library("pyarrow").float64()
    return _call("divide", column.cast(double), _scalar(float(divisor), double))


def binary(column: Any) -> list[bytes]:
    """Return what a column of `bytes` holds."""
    found: list[bytes] = column.view(library("pyarrow").binary()).to_pylist()
    return found


@cache
def _function(name: str) -> Any:
    return library("pyarrow.compute").get_function(name).call


@cache
def _scalar(number: float, kind: Any) -> Any:
    return library("pyarrow").scalar(number, kind)


def _call(name: str, *columns: Any) -> Any:
    return _function(name)(columns)


def _numbers(column: Any, low: int, high: int) -> int:
    found = extremes(column)
    if found is None:
        return 0
    least, most = found
    if least < low or most >= high:
        raise DistrustedError(f"{least} to {most} is not within {low} to {high}")
    size = 0
    for bits in range(6, 70, 7):  # zigzag keeps the sign: so many bits in one byte, seven more in each other
        size += len(column)
        bound = 1 << bits
        if -bound <= least and most < bound:
            return size
        column = _beyond(column, least, most, bound)
    raise AssertionError(found)


def _beyond(column: Any, least: int, most: int, bound: int) -> Any:
    """Return the numbers that take more bytes than those within the bounds."""
    if least >= bound or most < -bound:
        return column
    above = _call("greater_equal", column, _scalar(bound, column.type))
    if least < -bound:
        above = _call("or", above, _call("less", column, _scalar(-bound, column.type)))
    return column.filter(above)


def _texts(column: Any, sizes: list[Any]) -> int:
    column.validate(full=True)  # UTF-8: the library has not looked
    return _contents(column, sizes)


def _contents(column: Any, sizes: list[Any]) -> int:
    if not len(column):
        return 0
    sizes.append(_call("binary_length", column))
    ends = memoryview(column.buffers()[1]).cast("i")
    total: int = ends[column.offset + len(column)] - ends[column.offset]
    return total


def _arrays(items: Check) -> Check:
    return lambda column, sizes: _blocks(column, sizes) + items(column.flatten(), sizes)


def _maps(values: Check) -> Check:
    def check(column: Any, sizes: list[Any]) -> int:
        keys = column.keys
        size = _blocks(column, sizes) + _texts(keys, sizes)
        named = iter(keys.to_pylist())
        if any(len(set(islice(named, number))) != number for number in lengths(column).to_pylist()):
            raise DistrustedError("a key twice in a map")
        return size + values(column.items, sizes)

    return check


def _blocks(column: Any, sizes: list[Any]) -> int:
    """Return the bytes of the zeros behind blocks: an empty array is one zero, another is a count and a zero.

    Counts are measured by their negatives, which take a byte less for 64, 8,192 and so on items, and as many for any
    other number: of those only, a block with a false size in bytes would be as long as the canonical form.
    """
    ends = column.offsets
    counts = _call("subtract", ends.slice(0, len(column)), ends.slice(1))
    sizes.append(counts)
    blocks: int = _call("less", counts, _scalar(0, counts.type)).true_count
    return blocks


def _records(fields: Sequence[Check]) -> Check:
    return lambda column, sizes: sum(check(part, sizes) for check, part in zip(fields, column.flatten(), strict=True))


def _optionals(inner: Check) -> Check:
    return lambda column, sizes: len(column) + inner(column.drop_null() if column.null_count else column, sizes)
