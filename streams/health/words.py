"""Saying how a processor is, in words: from what its workers tell, and from what Kafka alone knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streams.health.judge import spell
from streams.health.standing import NO_GROUP, UNKNOWN, PartitionStanding, Standing


class Finding(NamedTuple):
    """One thing to say; `fix` is what to do about it, where that is known."""

    what: str
    fix: str = ""


class Words(NamedTuple):
    """What there is to say about one group: what is wrong, and what is worth knowing."""

    group: str
    headline: str
    wrong: list[Finding]
    notes: list[Finding]

    @property
    def healthy(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.wrong

    def lines(self) -> list[str]:
        """Return it as text."""
        told = [f"{self.group}: {'healthy' if self.healthy else 'NOT healthy'}, {self.headline}"]
        for mark, found in (("!", self.wrong), ("-", self.notes)):
            for one in found:
                told += [f"  {mark} {one.what}", *([f"      do: {one.fix}"] if one.fix else [])]
        return told


def explain(
    stand: Standing,
    workers: Sequence[Mapping[str, Any]],
    problems: Iterable[Mapping[str, Any]],
    now_ms: int,
    stall_after: float,
) -> Words:
    """Say how a group is.

    `workers` and `problems` are the group's own, as live supervisors answer `/healthz`; partitions that none of these
    workers holds are judged from Kafka: nothing committed while it was watched, and the next record older than
    `stall_after` seconds.
    """
    listed = list(problems)
    wrong = [Finding(one["what"], one["fix"]) for one in listed]
    named = {(one["topic"], one["partition"]) for one in listed}
    told = {(part["topic"], part["partition"]) for worker in workers for part in worker["partitions"]}
    strangers = [part for part in stand.partitions if (part.topic, part.partition) not in told and part.lag]
    if stand.members == 0 and strangers and not workers:
        wrong.append(_unattended(stand, strangers, now_ms))
    else:
        wrong += [found for part in strangers if (found := _judge(part, stand, now_ms, stall_after))]
    notes = [
        Finding(_doing(worker, part))
        for worker in workers
        for part in worker["partitions"]
        if _busy(part) and (part["topic"], part["partition"]) not in named
    ]
    notes += [Finding(f"{part.topic}[{part.partition}] {_behind(part, now_ms)}") for part in strangers if part.moved]
    return Words(stand.group, _headline(stand, workers), wrong, notes)


def _headline(stand: Standing, workers: Sequence[Mapping[str, Any]]) -> str:
    lag = sum(part.lag for part in stand.partitions)
    behind = f"{lag} records behind" if lag else "nothing left to do"
    here = f"{len(workers)} workers here" if workers else "no supervisor answers on this machine"
    if stand.state == UNKNOWN:
        return f"Kafka cannot be asked; {here}"
    known = f"group {_state(stand)}, {stand.members} members"
    group = known if stand.state != NO_GROUP else "no worker has joined its group yet"
    return f"{behind}; {group}; {here}"


def _state(stand: Standing) -> str:
    return stand.state.lower().replace("_", " ")


def _unattended(stand: Standing, parts: Sequence[PartitionStanding], now_ms: int) -> Finding:
    ages = [now_ms - part.next_ms for part in parts if part.next_ms is not None]
    oldest = f", the oldest for {spell(max(ages) / 1000)}" if ages else ""
    what = f"{sum(part.lag for part in parts)} records wait{oldest}, and nobody reads them: the group has no members"
    return Finding(what, f"start a worker of {stand.group}, or see why it ended")


def _judge(part: PartitionStanding, stand: Standing, now_ms: int, stall_after: float) -> Finding | None:
    name = f"{part.topic}[{part.partition}]"
    if part.owner is None:
        rebalancing = stand.state != "STABLE"
        why = f"the group is {_state(stand)}" if rebalancing else "the group is at rest"
        fix = (
            "wait for the rebalance; if it lasts, see which member hangs"
            if rebalancing
            else (
                "a member that left without a word keeps its partitions for session_timeout; then they are shared anew"
            )
        )
        return Finding(f"{name} {_behind(part, now_ms)}, and no member owns it: {why}", fix)
    if part.moved or part.next_ms is None or now_ms - part.next_ms < stall_after * 1000:
        return None
    what = f"{name} {_behind(part, now_ms)}, and {part.owner} committed nothing while this command watched"
    return Finding(what, "ask the supervisor on its machine: `streams why` there, or its /healthz")


def _behind(part: PartitionStanding, now_ms: int) -> str:
    age = f", the next of {spell(max(0, now_ms - part.next_ms) / 1000)} ago" if part.next_ms is not None else ""
    return f"is {part.lag} records behind at offset {part.committed}{age}"


def _busy(part: Mapping[str, Any]) -> bool:
    return bool(part["lag"] or part["state"] in {"held", "restoring", "down"})


def _doing(worker: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    waits = f", waits on {part['waits_on']}" if part["waits_on"] else ""
    rate = f", {worker['records_per_second']:.0f} records a second" if worker["records_per_second"] else ""
    behind = f"{part['lag']} records behind, the oldest of {spell(part['lag_seconds'])} ago"
    return f"{part['topic']}[{part['partition']}] {part['state']}: {behind}{waits}{rate}"
