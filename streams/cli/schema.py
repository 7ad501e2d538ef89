"""`streams schema`: contracts to models, their compatibility, their registration at deploy."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.avro.compatibility import Level, breaks
from streams.avro.contracts import Contract, load
from streams.avro.generate import generate as generate_module
from streams.avro.history import changed
from streams.avro.model import versions_of
from streams.avro.registry import Registry
from streams.cli.options import AppTarget, BootstrapServers, RegistryUrl, settings_from
from streams.errors import IncompatibleError, UsageError
from streams.load import load_app
from streams.settings import require

app = typer.Typer(help="Schemas: generate models, check compatibility, register.", no_args_is_help=True)

SCHEMAS = Path("schemas")
Schemas = Annotated[Path, typer.Option("--schemas", help="The folder of contracts, <namespace>/<Record>/v<N>.avsc.")]
Namespaces = Annotated[list[str] | None, typer.Option("--namespace", help="Only this namespace; repeatable.")]
LevelOption = Annotated[Level, typer.Option("--level", case_sensitive=False, help="Who must understand whom.")]


@app.command("generate")
def generate(
    out: Annotated[Path, typer.Option("--out", help="The module to write.")],
    schemas: Schemas = SCHEMAS,
    version: Annotated[
        list[str] | None, typer.Option("--version", metavar="RECORD=N", help="Not the newest version; repeatable.")
    ] = None,
    namespace: Namespaces = None,
    record: Annotated[
        list[str] | None, typer.Option("--record", metavar="RECORD", help="Only this contract; repeatable.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 4 if the file is stale.")] = False,
) -> None:
    """Write a Python module of pydantic models for all contracts, or some of them."""
    source = generate_module(schemas, dict(_pin(text) for text in version or []), namespace, record)
    if not check:
        _write(out, source)
        sys.stderr.write(f"{out} written\n")
        return
    if not out.is_file() or out.read_text(encoding="utf-8") != source:
        raise IncompatibleError(
            "the generated module is stale", where=str(out), fix=_command(out, schemas, version, namespace, record)
        )
    sys.stderr.write(f"{out} is what its contracts say\n")


@app.command("check")
def check(
    schemas: Schemas = SCHEMAS,
    level: LevelOption = Level.BACKWARD,
    namespace: Namespaces = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="REF", help="The git revision whose versions must not change.")
    ] = None,
) -> None:
    """Check that versions understand each other, and that no merged version changed; exit 4 where one does not.

    A version is merged once it is in the git revision --base, by default HEAD.
    """
    contracts = load(schemas, namespace)
    problems = [
        *_rewritten(schemas, base),
        *(problem for contract in contracts for problem in _breaks(contract, level)),
    ]
    compared = sum(1 for contract in contracts for _ in breaks(contract.versions, level))
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    sys.stderr.write(f"{len(contracts)} contracts, {compared} pairs of versions compared at level {level}\n")
    if problems or not compared:
        raise IncompatibleError(f"{len(problems)} problems in {compared} pairs of versions", where=str(schemas))


@app.command("register")
def register(
    target: AppTarget,
    level: LevelOption = Level.BACKWARD,
    schema_registry_url: RegistryUrl = None,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Register all versions of every contract of an app, for deployments: workers only look schemas up."""
    declared = load_app(target)
    settings = settings_from(bootstrap_servers, schema_registry_url, None, code=declared.settings)
    registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
    register_contracts(registry, declared.contracts(), level)


def register_contracts(registry: Registry, contracts: Iterable[tuple[str, type[Any]]], level: Level) -> None:
    """Register subjects with all versions of their models; print each with its ids.

    Raises:
        IncompatibleError: the registry refuses a version.
    """
    for subject, model in contracts:
        ids = registry.register(subject, versions_of(model), level)
        sys.stdout.write(f"{subject}\t{' '.join(map(str, ids))}\n")


def _rewritten(schemas: Path, base: str | None) -> list[str]:
    found = changed(schemas, base)
    if found is None:
        sys.stderr.write("not compared with merged versions: no git history here\n")
        return []
    return [
        f"{file}: a merged version is gone or was changed; restore it and write the change as a new version"
        for file in found
    ]


def _breaks(contract: Contract, level: Level) -> list[str]:
    return [
        f"{contract.files[reader - 1]}{found.path}: v{reader} reading records of v{writer}: {found.what}"
        f" [{found.kind}]; {found.fix}"
        for reader, writer, all_found in breaks(contract.versions, level)
        for found in all_found
    ]


def _pin(text: str) -> tuple[str, int]:
    record, _, number = text.partition("=")
    if not (record and number.isascii() and number.isdecimal()):
        raise UsageError(f"{text!r} is not RECORD=N", fix="--version PostPublished=1")
    return record, int(number)


def _write(out: Path, source: str) -> None:
    try:
        out.write_text(source, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the module cannot be written: {error}", fix="name a file in a folder that exists") from error


def _command(
    out: Path,
    schemas: Path,
    versions: Sequence[str] | None,
    namespaces: Sequence[str] | None,
    records: Sequence[str] | None,
) -> str:
    words = ["streams schema generate", f"--out {out}"]
    words += [f"--schemas {schemas}"] if schemas != SCHEMAS else []
    words += [f"--version {text}" for text in versions or []]
    words += [f"--namespace {name}" for name in namespaces or []]
    words += [f"--record {name}" for name in records or []]
    return " ".join(words)
