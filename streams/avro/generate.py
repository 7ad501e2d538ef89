"""Contracts → one Python module of pydantic models, the same text for the same contracts.

Nothing of a schema becomes source unchecked: Avro's names are names in Python too and get a `_` where they would hide
something; everything else goes through `repr`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.avro.contracts import Contract, load
from streams.avro.names import Names, short
from streams.avro.nodes import MISSING, Enum, Field, Fixed, Named, Node, Record, kind, parts
from streams.errors import UsageError

HEAD: Final = '''"""Made by `streams schema generate`. Do not edit: rules of your own go into a subclass."""

# ruff: noqa
from __future__ import annotations

import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field, NaiveDatetime

from streams.avro.model import AvroModel, FrozenDict, FrozenMap, Int, Long'''
TEXT_WIDTH: Final = 100


def generate(
    schemas: Path,
    versions: Mapping[str, int] | None = None,
    namespaces: Sequence[str] | None = None,
    records: Collection[str] | None = None,
) -> str:
    """Return the module of all contracts below `schemas`, or of some namespaces or records.

    Every contract is generated in its newest version, or in the one that `versions` names by record or full name.

    Raises:
        UsageError: a contract is wrong, two of them disagree on a type, or Python cannot hold one.
    """
    contracts = load(schemas, namespaces)
    unknown = {*(versions or {}), *(records or ())} - {name for contract in contracts for name in _called(contract)}
    if unknown:
        raise UsageError(f"no contract is called {', '.join(sorted(unknown))}", where=str(schemas))
    chosen = [contract for contract in contracts if not records or not _called(contract).isdisjoint(records)]
    return render(_pinned(contract, versions or {}) for contract in chosen)


def render(contracts: Iterable[Contract]) -> str:
    """Return the module of these contracts, each in its last version; raise UsageError as `generate` does."""
    return _Module(contracts).text()


def _called(contract: Contract) -> set[str]:
    """Return the names that a contract goes by: with its namespace and without."""
    return {contract.name, short(contract.name)}


def _pinned(contract: Contract, versions: Mapping[str, int]) -> Contract:
    """Return the contract with the versions up to the one that is asked for."""
    last = versions.get(contract.name, versions.get(short(contract.name), len(contract.versions)))
    if not 1 <= last <= len(contract.versions):
        have = f"it has 1 to {len(contract.versions)}"
        raise UsageError(f"{contract.name} has no version {last}", where=str(contract.files[0].parent), fix=have)
    return Contract(contract.name, contract.versions[:last], contract.files[:last])


class _Module:
    """The named types of some contracts, each one class, after those that it is made of."""

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self._contracts: dict[str, Contract] = {}
        self._types: dict[str, Named] = {}
        self._origin: dict[str, Path] = {}
        for contract in contracts:
            self._contracts[contract.name] = contract
            self._collect(contract.versions[-1].root, contract.files[-1], set())
        self._names = Names(self._types)

    def _collect(self, node: Node, file: Path, seen: set[int]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for part in parts(node):
            self._collect(part, file, seen)
        if isinstance(node, Named):
            self._add(node, file)

    def _add(self, node: Named, file: Path) -> None:
        known = self._types.setdefault(node.name, node)
        if _signature(known) != _signature(node):
            raise UsageError(
                f"{node.name} is not the same type in two contracts",
                where=f"{self._origin[node.name]} and {file}",
                fix="let both hold the same definition, or pin versions that do with --version RECORD=N",
            )
        self._origin.setdefault(node.name, file)

    def text(self) -> str:
        """Return the source."""
        blocks = [HEAD, *(f"\n{chr(10).join(lines)}" for lines in self._blocks())]
        late = [f"{self._names.classes[name]}.model_rebuild()" for name in self._refer_ahead()]
        return "\n\n".join([*blocks, *(["\n".join(late)] if late else [])]) + "\n"

    def _blocks(self) -> Iterator[list[str]]:
        for node in self._types.values():
            try:
                if isinstance(node, Enum):
                    yield list(self._enum(node))
                elif isinstance(node, Record):
                    yield list(self._record(node))
            except UsageError as error:
                raise UsageError(error.what, where=f"{self._origin[node.name]}, {node.name}", fix=error.fix) from None

    def _enum(self, node: Enum) -> Iterator[str]:
        yield f"class {self._names.classes[node.name]}(StrEnum):"
        yield from _docstring(node.doc)
        yield f"    __avro_name__ = {node.name!r}"
        yield ""
        for symbol, member in self._names.members(node).items():
            yield f"    {member} = {symbol!r}"

    def _record(self, node: Record) -> Iterator[str]:
        yield f"class {self._names.classes[node.name]}(AvroModel):"
        yield from _docstring(node.doc)
        yield f"    __avro_name__: ClassVar[str] = {node.name!r}"
        if node.name in self._contracts:
            yield "    __avro_versions__: ClassVar[tuple[str, ...]] = ("
            for schema in self._contracts[node.name].versions:
                yield from _text(schema.text)
            yield "    )"
        yield ""
        for field, attribute in zip(node.fields, self._names.fields(node).values(), strict=True):
            yield f"    {attribute}: {self._names.annotation(field.type)}{self._setting(field, attribute)}"
            if field.doc:
                yield f"    {field.doc!r}"

    def _setting(self, field: Field, attribute: str) -> str:
        """Return what follows a field's type: its default, and its name in Avro where the attribute's differs."""
        options = []
        if field.default is not MISSING:
            value = self._names.literal(field.type, field.default)
            holds_record = any(isinstance(node, Record) for node in _below(field.type))
            options.append(f"default_factory=lambda: {value}" if holds_record and "(" in value else f"default={value}")
        if attribute != field.name:
            options.append(f"alias={field.name!r}")
        if len(options) == 1 and options[0].startswith("default="):
            return f" = {options[0].removeprefix('default=')}"
        return f" = Field({', '.join(options)})" if options else ""

    def _refer_ahead(self) -> list[str]:
        """Return the records that are made of a class that stands further down: types that hold each other."""
        order = {name: at for at, name in enumerate(self._types)}
        return [
            name
            for name, node in self._types.items()
            if any(isinstance(part, Named) and order[part.name] > order[name] for part in _below(node))
        ]


def _below(node: Node) -> Iterator[Node]:
    """Walk a type without entering another named one."""
    pending = list(parts(node)) or [node]
    while pending:
        part = pending.pop()
        yield part
        if not isinstance(part, Named):
            pending += parts(part)


def _signature(node: Named) -> object:
    """Return what makes two definitions the same type: all but the documentation; parts by name."""
    if isinstance(node, Enum):
        return node.symbols, node.default
    if isinstance(node, Fixed):
        return node.size, node.logical
    return [(f.name, json.dumps(f.default) if f.default is not MISSING else "", _shape(f.type)) for f in node.fields]


def _shape(node: Node) -> object:
    if isinstance(node, Named):
        return node.name
    return kind(node), getattr(node, "logical", None), [_shape(part) for part in parts(node)]


def _docstring(doc: str) -> list[str]:
    return [f"    {doc!r}", ""] if doc else []


def _text(text: str) -> Iterator[str]:
    """Yield a long text as literals, one a line, that Python puts together again."""
    pieces = [text[at : at + TEXT_WIDTH] for at in range(0, len(text), TEXT_WIDTH)]
    for piece in pieces[:-1]:
        yield f"        {piece!r}"
    yield f"        {pieces[-1]!r},"
