"""Python source under construction: lines, the constants that they use, and the schema path of every line.

Every identifier is made here; nothing of a schema ever becomes part of the source.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from typing import Any, Final

MAX_RECURSION: Final = 64  # levels of records that hold themselves, read or written
MAX_NESTING: Final = 12  # of generated blocks; Python itself allows 20 loops and 100 indentations
FLOATS: Final = {"float": "f", "double": "d"}  # the formats of `struct`

_serial: Final = count(1)


class Source:
    """One module of generated functions."""

    def __init__(self) -> None:
        self.path = ""  # where in the schema the lines that follow belong
        self.nesting = 0  # blocks around the lines that follow
        self._lines: list[str] = []
        self._paths: list[str] = []
        self._globals: dict[str, Any] = {}
        self._names = count(1)
        self._filename = f"<avro {next(_serial)}>"

    def add(self, *lines: str) -> None:
        """Append lines at the present nesting."""
        for line in lines:
            self._lines.append(" " * self.nesting + line)
            self._paths.append(self.path)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Append `head` and nest what follows below it."""
        self.add(head)
        self.nesting += 1
        yield
        self.nesting -= 1

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        """Extend the path for what follows."""
        before, self.path = self.path, f"{self.path}/{step}"
        yield
        self.path = before

    def local(self) -> str:
        """Return a fresh name."""
        return f"v{next(self._names)}"

    def constant(self, value: object) -> str:
        """Return a global name that holds the value."""
        name = f"K{next(self._names)}"
        self._globals[name] = value
        return name

    def share(self, **values: object) -> None:
        """Make values known under names of the caller's choice."""
        self._globals.update(values)

    def compile(self, function: str) -> Callable[..., Any]:
        """Return the finished function of that name."""
        exec(compile("\n".join(self._lines), self._filename, "exec"), self._globals)  # noqa: S102 (own source)
        found: Callable[..., Any] = self._globals[function]
        return found

    def locate(self, trace: TracebackType | None) -> str:
        """Return the schema path of the innermost generated line that an exception passed."""
        path = ""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self._filename:
                path = self._paths[trace.tb_lineno - 1]
            trace = trace.tb_next
        return path


def tuple_of(expressions: Sequence[str]) -> str:
    """Return the source of a tuple."""
    return f"({', '.join(expressions)},)" if expressions else "()"
