"""Running the checks of a suite one by one, to see which of them catch a broken implementation."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from streams.testing.conformance.base import Conformance


def checks(suite: type[Conformance]) -> list[str]:
    """Return the names of a suite's checks."""
    return [name for name in dir(suite) if name.startswith("test_")]


def caught(suite: type[Conformance], folder: Path, skipped: Collection[str] = ()) -> dict[str, str]:
    """Run every check with its first parameters; return those that fail, with the first line of the reason."""
    failed: dict[str, str] = {}
    for name in checks(suite):
        if name in skipped:
            continue
        check = getattr(suite(), name)
        (folder / name).mkdir(parents=True)
        try:
            check(**_arguments(check, folder / name))
        except pytest.skip.Exception:
            continue
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - however it fails
            failed[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return failed


def _arguments(check: Any, folder: Path) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for mark in getattr(check, "pytestmark", []):
        names, rows = mark.args[0].split(", "), mark.args[1]
        first = getattr(rows[0], "values", rows[0])
        given |= dict(zip(names, first if len(names) > 1 else [first], strict=True))
    wanted = inspect.signature(check).parameters
    return given | ({"tmp_path": folder} if "tmp_path" in wanted else {})
