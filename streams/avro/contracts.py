"""The contracts of a folder: `<namespace>/<Record>/v<N>.avsc`, versions counted from 1 without a gap."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.avro.schema import Schema
from streams.errors import UsageError

VERSION: Final = re.compile(r"v([1-9][0-9]*)\.avsc")


@dataclass(frozen=True)
class Contract:
    """One record's versions, the first first, each with its file."""

    name: str
    versions: tuple[Schema, ...]
    files: tuple[Path, ...]


def load(schemas: Path, namespaces: Sequence[str] | None = None) -> list[Contract]:
    """Return all contracts below a folder by name, or those of some namespaces.

    Raises:
        UsageError: there is none, a file is no schema, its name is not its place, or a version is missing.
    """
    folders = {path.parent for path in schemas.glob("*/*/*.avsc")}
    if namespaces:
        folders = {folder for folder in folders if folder.parent.name in namespaces}
    if not folders:
        raise UsageError(
            f"no contracts{' of ' + ', '.join(namespaces) if namespaces else ''} here",
            where=str(schemas),
            fix="contracts are files <namespace>/<Record>/v<N>.avsc, as social/PostPublished/v1.avsc",
        )
    return [_contract(folder) for folder in sorted(folders)]


def read(file: Path) -> Schema:
    """Return the schema of a file. Its text is the file's without white space between the tokens."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(file)) from None
    compact = json.dumps(json.loads(Schema(text, str(file)).text), separators=(",", ":"), ensure_ascii=False)
    return Schema(compact, str(file))


def _contract(folder: Path) -> Contract:
    name = f"{folder.parent.name}.{folder.name}"
    files: dict[int, Path] = {}
    for file in folder.glob("*.avsc"):
        found = VERSION.fullmatch(file.name)
        if not found:
            raise UsageError(f"{file.name} is not v<N>.avsc", where=str(file))
        files[int(found[1])] = file
    ordered = [files[number] for number in sorted(files)]
    if sorted(files) != list(range(1, len(files) + 1)):
        raise UsageError("versions do not count from 1 without a gap", where=str(folder))
    versions = tuple(read(file) for file in ordered)
    for schema, file in zip(versions, ordered, strict=True):
        if schema.name != name:
            raise UsageError(f"the schema is {schema.name}, its place says {name}", where=str(file))
    return Contract(name, versions, tuple(ordered))
