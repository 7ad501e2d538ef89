"""`Schema`: one parsed Avro schema and the exact text that it is registered under."""

from __future__ import annotations

from functools import cached_property

from fastavro.schema import (
    SchemaParseException,
    UnknownType,
    fingerprint,
    parse_schema,
    to_parsing_canonical_form,
)

from streams.avro.nodes import Named, label
from streams.avro.parse import Parser, Refused, loads
from streams.errors import UsageError


class Schema:
    """An immutable value: two schemas are equal when their texts are.

    `text` is what the registry gets, `name` the full name (the type's own name for one without), `root` and
    `named` the parsed types.

    Raises:
        UsageError: the text is not an Avro schema or passes a limit; says where by a JSON pointer behind `where`.
    """

    def __init__(self, text: str, where: str = "schema") -> None:
        self.text = text
        parser = Parser()
        try:
            raw = loads(text)
            self.root = parser.parse(raw)
            self._parsed = parse_schema(raw)  # a second opinion, by the library that others decode with
        except Refused as error:
            raise UsageError(error.what, where=f"{where}#{error.pointer}", fix=error.fix) from None
        except (SchemaParseException, UnknownType) as error:
            raise UsageError(str(error), where=where) from None
        self.named: dict[str, Named] = parser.named
        self.name = label(self.root)

    @cached_property
    def canonical(self) -> str:
        """The specification's parsing canonical form."""
        return to_parsing_canonical_form(self._parsed)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return fingerprint(self.canonical, "SHA-256")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Schema({self.name})"
