"""Asking supervisors how they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streams.health.whereabouts import announced

PATIENCE = 3.0  # seconds


def health_of(url: str, timeout: float = PATIENCE) -> dict[str, Any] | None:
    """Return what a supervisor answers to `/healthz`, good or bad; None where none answers."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port or 80, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) and "workers" in answer else None


def everything(state_dir: Path, groups: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the workers and problems of these groups, of every supervisor that shares the state folder."""
    answers = [answer for url in announced(state_dir) if (answer := health_of(url)) is not None]
    wanted = set(groups)
    workers = [worker for answer in answers for worker in answer["workers"] if worker["group"] in wanted]
    problems = [problem for answer in answers for problem in answer["problems"] if problem["group"] in wanted]
    return workers, problems
