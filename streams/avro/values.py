"""Conversions that generated code calls: varints longer than a byte, and the rarer logical types."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, localcontext
from math import ceil, log
from typing import Any, Final
from uuid import UUID

from streams.avro.nodes import Logical
from streams.errors import DecodeError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (local timestamps have no zone)
EPOCH_DAY: Final = EPOCH.toordinal()
DAY_MICROS: Final = 86_400_000_000
MORE: Final = 0x80  # of a varint's byte: another one follows
MAX_VARINT: Final = 10  # bytes
LATER_SHIFTS: Final = range(14, 7 * MAX_VARINT, 7)
VARINTS: Final = tuple(bytes((n,)) if n < MORE else bytes((n & 127 | 128, n >> 7)) for n in range(1 << 14))
CONTINUED: Final = tuple(bytes((n & 127 | 128, n >> 7 | 128)) for n in range(1 << 14))
# For a one-byte length that is not negative: the bytes that it and its content take; 0 tells any other byte.
STEPS: Final = tuple(0 if raw & 1 or raw >= MORE else 1 + (raw >> 1) for raw in range(256))
COUNTS: Final = VARINTS[::2]  # the zigzag form of lengths and counts below 8,192


def read_varint(frame: bytes, at: int) -> tuple[int, int]:
    """Return the raw value of a varint of two bytes or more and the position behind it.

    A number in more bytes than it needs is refused: one value has one form, so what is accepted encodes to the
    same bytes again.
    """
    last = frame[at + 1]
    if 0 < last < MORE:
        return frame[at] - MORE + (last << 7), at + 2
    raw = frame[at] - MORE + (last - MORE << 7)
    for shift in LATER_SHIFTS if last else ():
        at += 1
        last = frame[at + 1]
        if last < MORE:
            raw += last << shift
            break
        raw += last - MORE << shift
    else:
        raise DecodeError("varint", "padded with a zero byte" if not last else f"longer than {MAX_VARINT} bytes")
    if not last or raw >> 64:
        raise DecodeError("varint", "padded with a zero byte" if not last else "beyond 64 bits")
    return raw, at + 2


def read_length(frame: bytes, at: int) -> tuple[int, int]:
    """Return where the content behind a length of any size begins and ends."""
    raw = frame[at]
    raw, at = read_varint(frame, at) if raw >= MORE else (raw, at + 1)
    if raw & 1:
        raise DecodeError("negative-length")
    return at, at + (raw >> 1)


def read_block(frame: bytes, at: int) -> tuple[int, int, int]:
    """Return the number of items in a block, where they begin, and where they must end if the block says so, else 0.

    A negative number of items is followed by the size of the block in bytes.
    """
    raw = frame[at]
    raw, at = read_varint(frame, at) if raw >= MORE else (raw, at + 1)
    if not raw & 1:
        return raw >> 1, at, 0
    return (raw + 1) >> 1, *read_length(frame, at)


def write_varint(raw: int) -> bytes:
    """Return a raw value, already zigzag, as a varint."""
    head = b""
    while raw >> 14:
        head += CONTINUED[raw & 16383]
        raw >>= 14
    return head + VARINTS[raw]


def count(number: int) -> bytes:
    """Return a length or count that is not negative."""
    return write_varint(number << 1)


def int32(number: int) -> bytes:
    """Return an `int`; raise OverflowError outside of 32 bits."""
    if not -(1 << 31) <= number < 1 << 31:
        raise OverflowError(f"{number} does not fit an int of 32 bits")
    return write_varint(number << 1 ^ number >> 31)


def int64(number: int) -> bytes:
    """Return a `long`; raise OverflowError outside of 64 bits."""
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"{number} does not fit a long of 64 bits")
    return write_varint(number << 1 ^ number >> 63)


def read_date(days: int) -> date:
    """Return the day that lies so many days after 1970-01-01."""
    return date.fromordinal(days + EPOCH_DAY)


def write_date(day: date) -> int:
    """Return the days since 1970-01-01."""
    if type(day) is not date:
        raise TypeError(f"{day!r} is not a date")
    return day.toordinal() - EPOCH_DAY


def read_time(micros: int) -> time:
    """Return the time of day that lies so many microseconds after midnight."""
    if not 0 <= micros < DAY_MICROS:
        raise ValueError(f"{micros} microseconds are not a time of day")
    seconds, micro = divmod(micros, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micro)


def write_time(moment: time) -> int:
    """Return the microseconds since midnight."""
    if moment.tzinfo is not None:
        raise ValueError("a time of day has no time zone")
    return ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond


def read_local_timestamp(micros: int) -> datetime:
    """Return the moment without a zone, so many microseconds after 1970-01-01."""
    return NAIVE_EPOCH + timedelta(0, 0, micros)


def logical_value(logical: Logical, raw: Any) -> object:
    """Return the value that a raw one stands for; decoders do the same inline."""
    match logical.kind:
        case "date":
            return read_date(raw)
        case "time-millis" | "time-micros":
            return read_time(raw * 1000 if logical.kind == "time-millis" else raw)
        case "decimal":
            return DecimalForm(logical.precision, logical.scale, len(raw)).read(raw)
        case "uuid":
            return read_uuid(raw) if isinstance(raw, str) else UUID(bytes=raw)
        case "duration":
            return raw
    epoch = NAIVE_EPOCH if logical.kind.startswith("local") else EPOCH
    return epoch + timedelta(0, 0, raw * 1000 if logical.kind.endswith("millis") else raw)


class DecimalForm:
    """Decimals of one precision and scale, as big-endian two's complement of the unscaled number."""

    def __init__(self, precision: int, scale: int, size: int | None = None) -> None:
        self._limit = 10**precision
        self._scale = scale
        self._size = size
        self._longest = size or ceil(precision * log(10, 256)) + 1
        self._context = Context(prec=precision + 1)

    def read(self, raw: bytes) -> Decimal:
        """Return the number; raise DecodeError beyond the declared precision, before any costly arithmetic."""
        if len(raw) > self._longest:
            raise DecodeError("decimal", f"{len(raw)} bytes, the precision needs {self._longest}")
        unscaled = int.from_bytes(raw, "big", signed=True)
        if not -self._limit < unscaled < self._limit:
            raise DecodeError("decimal", "more digits than the precision")
        return Decimal(unscaled).scaleb(-self._scale, self._context)

    def write(self, number: Decimal) -> bytes:
        """Return the shortest form; raise ValueError for a number that precision and scale do not hold exactly."""
        if not isinstance(number, Decimal) or not number.is_finite():
            raise ValueError(f"{number!r} is not a finite Decimal")
        if number.adjusted() > len(str(self._limit)):
            raise ValueError(f"{number!r} has more digits than the precision")
        with localcontext(prec=max(len(number.as_tuple().digits) + abs(self._scale), 1) + 1):
            scaled = number.scaleb(self._scale)
        unscaled = int(scaled)
        if unscaled != scaled or not -self._limit < unscaled < self._limit:
            raise ValueError(f"{number!r} does not fit the decimal's precision and scale")
        size = self._size or (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
        return unscaled.to_bytes(size, "big", signed=True)


def read_uuid(text: str) -> UUID:
    """Return the UUID of its one canonical text; UUID itself takes many."""
    found = UUID(text)
    if str(found) != text:
        raise ValueError(f"{text[:50]!r} is not the canonical text of a UUID")
    return found
