"""The suite for state stores over ours and over two others that are sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from conformance_support import caught, checks
from sound_stores import DictStore, DiskFullError, FileStoreConformance

from streams.failpoints import Failpoint, installed
from streams.state.backend import Backend
from streams.state.lazy import LazyStore
from streams.state.protocol import StateStore
from streams.testing.conformance.state_store import StateStoreConformance, StateStoreFeatures

MODEL = "test_it_behaves_like_a_dictionary"  # finds most of these too, but takes its time to say it briefly


class TestBackend(StateStoreConformance):
    """The store that workers use."""

    features = StateStoreFeatures(persistent=True, survives_kill=True, can_fail=True)

    def open(self, folder: Path, names: Sequence[str]) -> StateStore:
        return Backend(folder, names)

    @contextmanager
    def failing(self, _store: StateStore) -> Iterator[None]:
        def full(point: Failpoint) -> None:
            if point is Failpoint.STATE_WRITING:
                raise DiskFullError

        with installed(full):
            yield


class TestLazyStore(StateStoreConformance):
    """The store of tasks that seldom have a row; before the first one it forgets positions when it is closed."""

    def open(self, folder: Path, names: Sequence[str]) -> StateStore:
        return LazyStore(folder, lambda: Backend(folder, names))


class TestDictStore(StateStoreConformance):
    """It claims nothing: its checks of persistence and failure are skipped by name."""

    def open(self, _folder: Path, _names: Sequence[str]) -> StateStore:
        return DictStore()


class TestFileStore(FileStoreConformance):
    """A third implementation, which claims all."""


def test_a_sound_store_is_not_caught(tmp_path: Path) -> None:
    assert caught(TestDictStore, tmp_path, [MODEL]) == {}
    assert len(checks(TestFileStore)) >= 20


def test_a_suite_that_compares_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Suite(TestDictStore):
        """Selected without any of its checks."""

    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    Suite.setup_class()
    with pytest.raises(AssertionError, match="Suite compared nothing"):
        Suite.teardown_class()
    Suite().same(1, 1)
    Suite.teardown_class()


def test_a_process_that_ran_no_check_of_a_suite_does_not_judge_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Suite(TestDictStore):
        """Its checks run in another process of xdist."""

    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    Suite.setup_class()
    Suite.teardown_class()
    Suite().setup_method()
    with pytest.raises(AssertionError, match="Suite compared nothing"):
        Suite.teardown_class()


def test_what_is_not_claimed_is_skipped_by_its_name() -> None:
    with pytest.raises(pytest.skip.Exception, match="feature not claimed: survives_kill"):
        TestDictStore().needs("survives_kill")
    with pytest.raises(AssertionError):
        TestDictStore().needs("no_such_feature")


def test_a_store_that_claims_to_fail_has_to_say_how() -> None:
    class Suite(TestDictStore):
        features = StateStoreFeatures(can_fail=True)

    with pytest.raises(AssertionError, match="override `failing`"):
        Suite().failing(DictStore())


def test_a_suite_that_would_not_run_is_told() -> None:
    with pytest.raises(TypeError, match="TestMistyped does not define open"):
        type("TestMistyped", (StateStoreConformance,), {"opne": None})
