import pytest

from streams.avro import wire
from streams.errors import DecodeError


@pytest.mark.parametrize("schema_id", [0, 1, 256, (1 << 31) - 1, (1 << 32) - 1])
def test_an_id_survives(schema_id: int) -> None:
    head = wire.header(schema_id)

    assert len(head) == wire.HEADER_SIZE
    assert wire.split(head + b"body") == schema_id


def test_the_header_is_confluent_s() -> None:
    assert wire.header(0x01020304) == b"\0\1\2\3\4"


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"", "frame-too-short"),
        (b"\0", "frame-too-short"),
        (b"\0\0\0\0", "frame-too-short"),
        (b"\1\0\0\0\1x", "bad-magic"),
    ],
)
def test_what_is_no_frame_is_refused(frame: bytes, kind: str) -> None:
    with pytest.raises(DecodeError) as refused:
        wire.split(frame)

    assert refused.value.kind == kind
