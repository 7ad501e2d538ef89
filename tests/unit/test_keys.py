"""Keys are what Kafka's own serialisers write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.keys import KEY_CODECS, Key

STRING, LONG, BYTES = KEY_CODECS[str], KEY_CODECS[int], KEY_CODECS[bytes]


@given(key=st.text() | st.integers(-(1 << 63), (1 << 63) - 1) | st.binary())
def test_every_key_comes_back(key: Key) -> None:
    codec = KEY_CODECS[type(key)]
    assert codec.decode(codec.encode(key)) == key


def test_bytes_are_those_of_java() -> None:
    assert STRING.encode("ä") == b"\xc3\xa4"
    assert LONG.encode(-2) == b"\xff" * 7 + b"\xfe"
    assert BYTES.encode(b"\x00") == b"\x00"


@pytest.mark.parametrize(
    ("codec", "key"),
    [
        (STRING, "\ud800"),
        (STRING, 5),
        (STRING, b"x"),
        (LONG, 1 << 63),
        (LONG, "5"),
        (LONG, 1.0),
        (BYTES, 5),
        (BYTES, "x"),
        (BYTES, [1]),
        (BYTES, None),
    ],
)
def test_what_does_not_fit_raises_value_or_type_error(codec: object, key: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        codec.encode(key)  # type: ignore[attr-defined] # any of the codecs


@pytest.mark.parametrize(("codec", "raw"), [(STRING, b"\xff"), (LONG, b"1234567"), (LONG, b"")])
def test_bytes_that_are_no_key_raise_value_error(codec: object, raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract
        codec.decode(raw)  # type: ignore[attr-defined] # any of the codecs
