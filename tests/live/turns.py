"""How tests are shared out to the processes of pytest-xdist: one by one, but for those that cannot run side by side."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadScopeScheduling

# Part of a test's id → what it has in common with others of that name: topics, or what a module starts once.
TOGETHER: Final = {
    "test_kills.py::test_killed_workers_lose_and_repeat_nothing[social": "story social",
    "test_kills.py::test_killed_workers_lose_and_repeat_nothing[shipments": "story shipments",
    "test_failpoints.py::test_kills_at_every_place_lose_and_repeat_nothing": "story social",
    "test_at_least_once.py::test_kills_lose_nothing_and_leave_the_state_exact": "story social",
    "faults/": "a broker that is disturbed",
    "test_containers.py::": "containers",
    "test_embedded_cluster.py::": "an embedded cluster",
    "test_engines.py::": "engines",
    "test_plugin.py::test_a_topic_and_its_names_serve_one_test": "names",
}


class Turns(LoadScopeScheduling):
    """What belongs together runs in one process, one after the other; those lots come first, the largest before all."""

    def _split_scope(self, nodeid: str) -> str:
        return next((shared for part, shared in TOGETHER.items() if part in nodeid), nodeid)
