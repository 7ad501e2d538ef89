"""Imports point one way, nothing hides one, and files stay small; every check says how much it compared."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "connectors", "stories")
MOST_LINES = 400

# Each of these knows only what stands before it, through whatever else.
CHAIN = [
    ("streams.record", "streams.errors"),
    ("streams.avro",),
    ("streams.topic",),
    ("streams.state",),
    ("streams.topology",),
    ("streams.task",),
    ("streams.checkpoint",),
    ("streams.worker",),
    ("streams.faust_engine",),
    ("streams.cli",),
]
# The command `streams schema` belongs to the Avro package and is a part of the command line.
CLIENTS = "confluent_kafka"
FAUST, HOST = ("faust", "aiokafka", "mode"), "streams.faust_engine"
REGISTRY_MODULE, REGISTRY_CLIENT = "streams.avro.registry", "confluent_kafka.schema_registry"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in PATHS.items()}


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports; a name of a package that is a module counts as that module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if PATHS[name].name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in TREES else base


IMPORTS = {name: set(imported(name, tree)) for name, tree in TREES.items()}
OWN = {name: {found for found in names if found in TREES} for name, names in IMPORTS.items()}


def reachable(start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for found in OWN[waiting.pop()] - seen:
            seen.add(found)
            waiting.append(found)
    return seen


def belongs(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


@pytest.fixture(autouse=True)
def compared() -> None:
    count = sum(map(len, IMPORTS.values()))
    print(f"compared {len(TREES)} modules with {count} imports")
    assert len(TREES) > 50
    assert count > 200
    assert all(any(belongs(name, package) for name in TREES) for package in PACKAGES)


def test_packages_import_one_way() -> None:
    allowed = {"streams": {"streams"}, "connectors": {"connectors", "streams"}, "stories": set(PACKAGES)}
    wrong = [
        f"{name} imports {found}"
        for name, names in OWN.items()
        for found in names
        if found.split(".")[0] not in allowed[name.split(".")[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("place", range(len(CHAIN)), ids=lambda place: CHAIN[place][0])
def test_the_runtime_imports_one_way(place: int) -> None:
    later = [part for parts in CHAIN[place + 1 :] for part in parts]
    modules = [name for name in TREES for part in CHAIN[place] if belongs(name, part)]
    assert modules
    wrong = [
        f"{name} reaches {found}"
        for name in modules
        for found in sorted(reachable(name))
        for part in later
        if belongs(found, part)
    ]
    assert wrong == []


def test_there_are_no_cycles() -> None:
    try:
        list(TopologicalSorter(OWN).static_order())
    except CycleError as cycle:
        pytest.fail(" → ".join(cycle.args[1]))


def test_no_import_hides_in_a_function_or_behind_a_condition() -> None:
    hidden = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If | ast.Try | ast.Lambda)
        for node in ast.walk(outer)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_nothing_is_imported_for_type_checkers_alone() -> None:
    found = [
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING")
        or (isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING")
    ]
    assert found == []


def test_one_package_imports_the_kafka_clients() -> None:
    users = {
        name: {found for found in names if belongs(found, CLIENTS)}
        for name, names in IMPORTS.items()
        if any(belongs(found, CLIENTS) for found in names)
    }
    allowed = {name for name in users if belongs(name, "streams.kafka")}
    assert allowed
    registry = users.get(REGISTRY_MODULE, set())
    assert all(belongs(found, REGISTRY_CLIENT) for found in registry)
    assert users.keys() - allowed - {REGISTRY_MODULE} == set()


def test_one_package_imports_faust_and_nothing_imports_it() -> None:
    """It is an extra: `streams.engines` imports the package by name, where it is asked for."""
    users = {name for name, names in IMPORTS.items() if any(belongs(found, lib) for found in names for lib in FAUST)}
    assert users
    assert all(belongs(name, HOST) for name in users)
    inside = {name for name, names in OWN.items() if any(belongs(found, HOST) for found in names)}
    assert all(belongs(name, HOST) for name in inside)


def test_files_stay_small() -> None:
    long = {name: lines for name, path in PATHS.items() if (lines := len(path.read_text().splitlines())) > MOST_LINES}
    assert long == {}


def test_the_pure_core_has_no_clock_socket_thread_or_sleep() -> None:
    """`step` gives the same under every host."""
    forbidden = {"time", "socket", "threading", "asyncio", "os", "random", "datetime", "concurrent.futures"}
    pure = [
        "record",
        "errors",
        "keys",
        "failures.policy",
        "topic",
        "context",
        "topology",
        "task",
        "owned",
        "state.overlay",
    ]
    core = [f"streams.{name}" for name in pure]
    wrong = {name: found for name in core if (found := IMPORTS[name] & forbidden) and found != {"datetime"}}
    assert wrong == {}
