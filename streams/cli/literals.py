"""Python source of values, laid out as formatters leave it."""

from __future__ import annotations

from collections.abc import Iterable

_WIDE = 120  # up to here a literal stays on its line, whatever line length the reader's formatter has
_CHUNK = 70


def literal(value: str | bytes | None, before: str, indent: int) -> str:
    """Return the source of text or bytes behind `before` in its line, over several lines where it is long."""
    if value is None:
        return "None"
    pieces = _pieces(value)
    whole = _quoted(pieces, value)
    if indent + len(before) + len(whole) + 1 <= _WIDE:
        return whole
    inner = " " * (indent + 4)
    lines = [inner + _quoted(chunk, value) for chunk in _chunks(pieces)]
    return "(\n" + "\n".join(lines) + "\n" + " " * indent + ")"


def _pieces(value: str | bytes) -> list[str]:
    """Return the source of each character."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    plain = str.isascii if isinstance(value, bytes) else lambda _char: True
    return [
        char if char.isprintable() and plain(char) and char != "\\" else char.encode("unicode_escape").decode()
        for char in text
    ]


def _chunks(pieces: Iterable[str]) -> Iterable[list[str]]:
    chunk: list[str] = []
    for piece in pieces:
        if sum(map(len, chunk)) + len(piece) > _CHUNK:
            yield chunk
            chunk = []
        chunk.append(piece)
    if chunk:
        yield chunk


def _quoted(pieces: list[str], value: str | bytes) -> str:
    """Prefer double quotes, unless they would need more escapes."""
    quote = "'" if pieces.count('"') > pieces.count("'") else '"'
    prefix = "b" if isinstance(value, bytes) else ""
    return prefix + quote + "".join("\\" + piece if piece == quote else piece for piece in pieces) + quote
