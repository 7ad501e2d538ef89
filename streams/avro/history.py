"""Contract files as a git revision has them: a version that was merged never changes (INV-7)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from streams.errors import UsageError


def changed(schemas: Path, base: str | None = None) -> list[Path] | None:
    """Return the contract files of a revision, HEAD by default, that are gone here or say something else.

    White space does not count. Returns None where there is no revision to compare with: the folder is not in a git
    checkout, or nothing is committed yet.

    Raises:
        UsageError: `base` is given and is no revision here.
    """
    revision = base or "HEAD"
    if _git(schemas, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        if base is not None:
            raise UsageError(f"{base!r} is no git revision", where=str(schemas), fix="fetch it, or name another one")
        return None
    listed = _git(schemas, "ls-tree", "-r", "-z", "--name-only", revision, ".") or ""
    names = [name for name in listed.split("\0") if name.endswith(".avsc")]
    return [schemas / name for name in names if _differs(schemas, revision, name)]


def _differs(schemas: Path, revision: str, name: str) -> bool:
    before = _git(schemas, "show", f"{revision}:./{name}")
    try:
        return before is None or json.loads(before) != json.loads((schemas / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints; None where it fails or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
