"""Running the checks of a suite one by one, to see which of them catch a broken implementation."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from streams.testing.conformance.base import Conformance

_PARAMETERS = type(pytest.param())


def checks(suite: type[Conformance]) -> list[str]:
    """Return the names of a suite's checks."""
    return [name for name in dir(suite) if name.startswith("test_")]


def caught(suite: type[Conformance], folder: Path, skipped: Collection[str] = ()) -> dict[str, str]:
    """Run every check with all its parameters; return those that fail, with the first line of the first reason."""
    failed: dict[str, str] = {}
    for name in set(checks(suite)) - set(skipped):
        for number, parameters in enumerate(_rows(getattr(suite, name))):
            reason = _reason(getattr(suite(), name), folder / name / str(number), parameters)
            if reason is not None:
                failed[name] = reason
                break
    return dict(sorted(failed.items()))


def _reason(check: Any, folder: Path, parameters: dict[str, Any]) -> str | None:
    wanted = inspect.signature(check).parameters
    if "tmp_path" in wanted:
        folder.mkdir(parents=True)
        parameters = {**parameters, "tmp_path": folder}
    try:
        check(**parameters)
    except pytest.skip.Exception:
        return None
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - however it fails
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None


def _rows(check: Any) -> list[dict[str, Any]]:
    """Return the parameters that pytest would run a check with, one after the other."""
    for mark in getattr(check, "pytestmark", []):
        names = [mark.args[0]] if isinstance(mark.args[0], str) else list(mark.args[0])
        rows = [row.values if isinstance(row, _PARAMETERS) else row for row in mark.args[1]]
        return [dict(zip(names, row if len(names) > 1 else [row], strict=True)) for row in rows]
    return [{}]
