"""The committed state of one task on LMDB: rows and positions move in one atomic write (INV-3).

One environment per task, one handle per path, no fsync: a killed process loses nothing (the page cache survives it);
after a machine that went down uncleanly the environment is wiped and restored from the changelogs. So it is after a
long rest: a changelog forgets its tombstones, and rows deleted meanwhile by another owner would come back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb
import structlog

from streams.errors import IncompatibleError, StreamsError
from streams.failpoints import Failpoint, reach
from streams.state.protocol import Rows

FORMAT_VERSION = 1
MOST_REST = 12 * 3600.0  # seconds; half of Kafka's default delete.retention.ms

_FIRST_MAP_SIZE = 16 << 20
_MAX_KEY = 511 - 1  # LMDB's limit less our tag
_PLAIN, _HASHED = b"k", b"h"
_KEY_LENGTH = struct.Struct(">I")
_META, _POSITIONS = b"\x00meta", b"\x00positions"

_UNREADABLE = (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)

_log = structlog.get_logger(__name__)


class Backend:
    """Rows of several named stores and tables, with the position in the topic that each of them was read from.

    Not thread-safe: the worker's thread owns it. After `close` it must not be used.
    """

    def __init__(self, path: Path, names: Iterable[str], *, boot_id: str | None = None) -> None:
        """Open or create the state under `path`; unusable state is wiped, and `position` then answers None.

        Raises:
            IncompatibleError: the state was written by a newer version of the toolkit.
            StreamsError: the folder cannot be written.
        """
        self._path = path
        self._names = sorted(names)
        self._boot_id = boot_id or _boot_id()
        self._positions: dict[str, int] = {}
        self._reader: Any
        rest = self._rest()
        self._open()
        unusable = self._unusable(rest)
        if unusable:
            _log.warning("state wiped", reason=unusable, path=str(self._path))
            self.wipe()
        self._put_meta(clean=False)

    def get(self, name: str, key: bytes) -> bytes | None:
        """Return the committed value of a key."""
        stored: bytes | None = self._reader.get(_stored_key(key), db=self._databases[name])
        if stored is None or len(key) <= _MAX_KEY:
            return stored
        length = _KEY_LENGTH.unpack_from(stored)[0]
        start = _KEY_LENGTH.size + length
        return bytes(stored[start:]) if stored[_KEY_LENGTH.size : start] == key else None

    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield every committed key, or those behind one, with its value; nothing may be written meanwhile."""
        cursor = self._reader.cursor(self._databases[name])
        place = None if after is None else _stored_key(after)
        for stored_key, stored in cursor if place is None or cursor.set_range(place) else ():
            if stored_key == place:
                continue
            if stored_key[:1] == _PLAIN:
                yield bytes(stored_key[1:]), bytes(stored)
            else:
                start = _KEY_LENGTH.size + _KEY_LENGTH.unpack_from(stored)[0]
                yield bytes(stored[_KEY_LENGTH.size : start]), bytes(stored[start:])

    def position(self, name: str) -> int | None:
        """Return the next offset to read from the topic behind `name`; None if nothing was ever written."""
        return self._positions.get(name)

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        """Apply rows (None deletes) and positions, all or nothing.

        Raises:
            StreamsError: the disk is full or fails; nothing was applied.
        """
        materialised = {name: list(rows) for name, rows in changes.items()}
        after = {**self._positions, **positions}
        self._transact(lambda transaction: self._put(transaction, materialised, after))
        self._positions = after
        self._reader.abort()
        self._reader = self._env.begin()

    def wipe(self) -> None:
        """Drop everything; the task restores from its changelogs."""
        self.release()
        self._remove()
        self._open()
        self._put_meta(clean=False)

    def close(self) -> None:
        """Mark the state as cleanly closed and release it."""
        self._put_meta(clean=True)
        self._env.sync(True)
        self.release()

    def release(self) -> None:
        """Let go of the files as they are, as the end of the process does."""
        self._reader.abort()
        self._env.close()

    def _open(self) -> None:
        try:
            try:
                self._env = self._environment()
            except _UNREADABLE as error:
                _log.warning("state wiped", reason=str(error), path=str(self._path))
                self._remove()
                self._env = self._environment()
        except (OSError, lmdb.Error) as error:
            raise StreamsError(
                f"the state cannot be opened: {error}",
                where=str(self._path),
                fix="check the state folder's owner and space",
            ) from error
        self._databases = {name: self._env.open_db(name.encode()) for name in self._names}
        self._reader = self._env.begin()
        self._positions = {name: int(offset) for name, offset in self._load(_POSITIONS).items()}

    def _environment(self) -> lmdb.Environment:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = self._path / "data.mdb"
        return lmdb.open(
            str(self._path),
            map_size=max(_FIRST_MAP_SIZE, 2 * data.stat().st_size if data.exists() else 0),
            max_dbs=len(self._names) + 1,
            sync=False,
            metasync=False,
            readahead=False,  # beyond memory each key would bring in 128 KB beside its page (ADR 17)
            mode=0o600,
        )

    def _remove(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)

    def _rest(self) -> float:
        """Return the seconds since the state was last written; 0 where there is none."""
        data = self._path / "data.mdb"
        return time.time() - data.stat().st_mtime if data.exists() else 0.0

    def _unusable(self, rest: float) -> str | None:
        """Say why the state cannot be trusted.

        Raises:
            IncompatibleError: it was written by a newer version of the toolkit.
        """
        meta = self._load(_META)
        if meta.get("format_version", FORMAT_VERSION) > FORMAT_VERSION:
            raise IncompatibleError(
                f"the state has format {meta['format_version']}, this version reads up to {FORMAT_VERSION}",
                where=str(self._path),
                fix="run the newer version, or delete the folder to restore from the changelogs",
            )
        unclean = bool(meta) and not meta["clean"]
        if unclean and meta["boot_id"] != self._boot_id:
            return "the machine went down uncleanly"
        return f"it was not used for {rest / 3600:.0f} hours" if rest > MOST_REST else None

    def _load(self, key: bytes) -> dict[str, Any]:
        with self._env.begin() as transaction:
            raw = transaction.get(key)
        return json.loads(raw) if raw else {}

    def _put_meta(self, *, clean: bool) -> None:
        meta = {"format_version": FORMAT_VERSION, "clean": clean, "boot_id": self._boot_id}
        self._transact(lambda transaction: transaction.put(_META, json.dumps(meta).encode()))

    def _put(
        self,
        transaction: lmdb.Transaction,
        changes: Mapping[str, list[tuple[bytes, bytes | None]]],
        positions: Mapping[str, int],
    ) -> None:
        for name, rows in changes.items():
            database = self._databases[name]
            if all(
                value is not None and len(key) <= _MAX_KEY for key, value in rows
            ):  # a third quicker than one by one
                transaction.cursor(database).putmulti(
                    [(_PLAIN + key, value) for key, value in rows if value is not None]
                )
                continue
            for key, value in rows:
                if value is None:
                    transaction.delete(_stored_key(key), db=database)
                else:
                    transaction.put(_stored_key(key), _stored_value(key, value), db=database)
        reach(Failpoint.STATE_WRITING)
        transaction.put(_POSITIONS, json.dumps(positions).encode())

    def _transact(self, work: Callable[[lmdb.Transaction], object]) -> None:
        """Do one atomic write; a full map is made larger and the write is done again.

        Raises:
            StreamsError: the disk is full or fails; nothing was applied.
        """
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    work(transaction)
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                raise StreamsError(
                    f"the state could not be written: {error}",
                    where=str(self._path),
                    fix="free disk space or mend the disk; what is committed in Kafka is restored at the next start",
                ) from error
            else:
                return

    def _grow(self) -> None:
        self._reader.abort()  # no transaction may be open while the map moves
        self._env.set_mapsize(self._env.info()["map_size"] * 2)
        self._reader = self._env.begin()


def _stored_key(key: bytes) -> bytes:
    return _PLAIN + key if len(key) <= _MAX_KEY else _HASHED + hashlib.sha256(key).digest()


def _stored_value(key: bytes, value: bytes) -> bytes:
    return value if len(key) <= _MAX_KEY else _KEY_LENGTH.pack(len(key)) + key + value


def _boot_id() -> str:
    """Name this boot of the machine; where that cannot be told, every unclean close counts as one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"unknown-{os.getpid()}"
