"""`--where`: a small language over the fields of a record, checked whole before anything is read.

Written as in Python: fields (`value.order.total`, `value.lines[0]`, `headers["content-type"]`), text, numbers, lists,
`null`, `true`, `false`; `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`; `and`, `or`, `not`; a few functions. There is
no arithmetic, no attribute of an object and no loop, so that no expression takes long or grows.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from simpleeval import EvalWithCompoundTypes, InvalidExpression

from streams.errors import StreamsError, UsageError

MOST_CHARACTERS: Final = 2_000
CONSTANTS: Final = {"null": None, "true": True, "false": False}
LANGUAGE: Final = 'write it as in value.total > 100 and error.type == "ValueError"'

_ALLOWED: Final = (
    ast.Expr, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Eq, ast.NotEq, ast.Lt,
    ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Call, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
    ast.Attribute, ast.Subscript,
)  # fmt: skip
_INSTEAD: Final = {
    ast.Is: "write == null",
    ast.IsNot: "write != null",
    ast.BinOp: "there is no arithmetic; and, or, not combine",
    ast.Assign: "write == to compare",
    ast.NamedExpr: "write == to compare",
}


_LEAVES_OUT: Final = (
    TypeError, ValueError, LookupError, ArithmeticError, RecursionError, InvalidExpression, StreamsError,
)  # fmt: skip
_MOST_REASONS: Final = 20


class Where:
    """An expression over the fields `names`; `fields` further below those whose parts are known.

    `uses` are the names that occur, so that a caller need not decode what nobody asks for. `left_out` counts the
    records that it could not be applied to, by reason.

    Raises:
        UsageError: it is no expression of the language, or names a field or function that there is none of.
    """

    def __init__(
        self,
        text: str,
        names: Mapping[str, frozenset[str] | None],
        functions: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.text = text
        parsed = _parse(text)
        _Check(text, names, functions).visit(parsed)
        self.uses = {node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)} & names.keys()
        self.left_out: Counter[str] = Counter()
        self._parsed = _AsIndex().visit(parsed)
        self._evaluator = EvalWithCompoundTypes(functions=dict(functions))

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether the expression is true of a record; one that it cannot be applied to does not match."""
        self._evaluator.names = {**CONSTANTS, **fields}
        try:
            found = self._evaluator.eval(self.text, previously_parsed=self._parsed)
        except KeyError as missing:
            return self._leave_out(f"there is no field {missing.args[0]}")
        except _LEAVES_OUT as error:
            return self._leave_out(str(error) or type(error).__name__)
        if not isinstance(found, bool):
            return self._leave_out(f"it is neither true nor false but {type(found).__name__}")
        return found

    def _leave_out(self, why: str) -> bool:
        known = why[:100] in self.left_out or len(self.left_out) < _MOST_REASONS
        self.left_out[why[:100] if known else "other reasons"] += 1
        return False


def _parse(text: str) -> ast.Expr:
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"--where has {len(text)} characters", fix=f"write at most {MOST_CHARACTERS}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes
            body = ast.parse(text.strip(), "--where").body
    except SyntaxError as error:
        raise _told(text.strip(), (error.offset or 1) - 1, f"{error.msg}", _syntax_hint(text)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"--where cannot be read: {error}", fix=LANGUAGE) from None
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        what = type(body[0]) if body else None
        raise _told(text.strip(), 0, "this is not one expression", _INSTEAD.get(what, LANGUAGE) if what else LANGUAGE)
    return body[0]


def _syntax_hint(text: str) -> str:
    if "&&" in text or "||" in text:
        return "write and, or, not"
    if "=" in text and not any(sign in text for sign in ("==", "!=", "<=", ">=")):
        return "write == to compare"
    return f'{LANGUAGE}; a field with the name of a Python keyword is value["from"]'


class _Check(ast.NodeVisitor):
    """Refuses whatever is not of the language, with its place."""

    def __init__(
        self, text: str, names: Mapping[str, frozenset[str] | None], functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        self._text = text.strip()
        self._names = names
        self._functions = functions

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, _ALLOWED):
            raise self._wrong(node, f"{type(node).__name__} is not part of it", _INSTEAD.get(type(node), LANGUAGE))
        try:
            super().generic_visit(node)
        except RecursionError:
            raise UsageError("--where is nested too deeply", fix="write a simpler one") from None

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator in node.ops:
            if type(operator) in _INSTEAD:
                raise self._wrong(node, "`is` is not part of it", _INSTEAD[type(operator)])
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id not in self._names and node.id not in CONSTANTS:
            raise self._unknown(node, node.id, "field", [*self._names, *CONSTANTS], prefix="value.")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        known = self._names.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if known is not None and node.attr not in known:
            raise self._unknown(
                node, f"{ast.unparse(node)}", "field", [f"{ast.unparse(node.value)}.{k}" for k in known]
            )
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name) or node.func.id not in self._functions:
            raise self._unknown(node, ast.unparse(node.func), "function", [*self._functions])
        if node.keywords:
            raise self._wrong(node, "arguments have no names here", LANGUAGE)
        for argument in node.args:
            self.visit(argument)
        try:
            self._try(self._functions[node.func.id], node.args)
        except (TypeError, ValueError, StreamsError) as error:
            raise self._wrong(node, str(error).partition("\n")[0], f"mend the call of {node.func.id}") from None

    @staticmethod
    def _try(function: Callable[..., Any], arguments: list[ast.expr]) -> None:
        """Call a function whose arguments are written out, so that a wrong one is told before anything is read."""
        inspect.signature(function).bind(*arguments)
        if all(isinstance(argument, ast.Constant) for argument in arguments):
            function(*(argument.value for argument in arguments if isinstance(argument, ast.Constant)))

    def visit_Constant(self, node: ast.Constant) -> None:
        if not isinstance(node.value, str | int | float | bool | None):
            raise self._wrong(node, f"{ast.unparse(node)} is not part of it", LANGUAGE)

    def _unknown(self, node: ast.expr, name: str, what: str, known: list[str], prefix: str = "") -> UsageError:
        near = difflib.get_close_matches(name, known, 1)
        fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(known))}"
        if prefix and not near:
            fix += f"; a field of the record is {prefix}{name}"
        return self._wrong(node, f"there is no {what} {name}", fix)

    def _wrong(self, node: ast.AST, what: str, fix: str) -> UsageError:
        return _told(self._text, getattr(node, "col_offset", 0), what, fix, in_bytes=True)


class _AsIndex(ast.NodeTransformer):
    """Turns `a.b` into `a["b"]`: a field may have any name, and no attribute of any object is ever asked for."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        return ast.copy_location(ast.Subscript(node.value, ast.Constant(node.attr), ast.Load()), node)


def _told(text: str, column: int, what: str, fix: str, *, in_bytes: bool = False) -> UsageError:
    at = len(text.encode()[:column].decode(errors="replace")) if in_bytes else column
    pointed = text.replace("\n", " ")
    return UsageError(f"--where: {what}", where=f"character {at + 1}\n    {pointed}\n    {' ' * at}^", fix=fix)


def functions(moment: Callable[[str], int]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the functions of the language; `moment` reads a point in time as milliseconds since the epoch."""
    yield "endswith", lambda text, end: _text(text).endswith(_text(end))
    yield "len", len
    yield "lower", lambda text: _text(text).lower()
    yield "number", float
    yield "startswith", lambda text, start: _text(text).startswith(_text(start))
    yield "time", lambda text: moment(_text(text))


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{type(given).__name__} is not text")
    return given
