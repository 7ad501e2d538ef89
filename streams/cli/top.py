"""`streams top`: a live view of an app's processors and workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streams.cli.options import AppTarget, BootstrapServers, Properties, settings_from
from streams.health.ask import everything
from streams.health.judge import spell
from streams.health.standing import Standing, standing
from streams.kafka.admin import Admin
from streams.load import load_app
from streams.settings import Settings
from streams.topology import Processor

EVERY = 1.0  # seconds
WIDTH = 200  # where nobody says how wide the page is
COLUMNS = (
    *("PROCESSOR", "WORKER", "STATE", "RECORDS/S", "LAG", "OLDEST", "WAITING", "PARKED", "DLQ"),
    *("CORES", "MB", "START", "WAITS ON"),
)


def top(
    target: AppTarget,
    processor: Annotated[
        list[str] | None, typer.Option("--processor", "-p", metavar="NAME", help="This one only; repeatable.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame and end; as always where output is no terminal.")
    ] = False,
    state_dir: Annotated[Path | None, typer.Option(help="Where the workers' state lies.")] = None,
    bootstrap_servers: BootstrapServers = None,
    properties: Properties = None,
) -> None:
    """Show throughput, lag, what waits and what is wrong, every second until Ctrl-C.

    The supervisors of this state folder are asked; a processor that none of them runs is shown from Kafka alone. DLQ
    counts since the supervisor's start.
    """
    app = load_app(target)
    chosen = app.select(processor or [])
    settings = settings_from(bootstrap_servers, None, properties, code=app.settings, state_dir=state_dir)
    admin = Admin(settings)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if once or not console.is_terminal:
        console.print(frame(settings, admin, chosen))
        return
    with Live(frame(settings, admin, chosen), console=console, auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(EVERY)
            live.update(frame(settings, admin, chosen), refresh=True)


def frame(settings: Settings, admin: Admin, processors: Iterable[Processor]) -> Table:
    """Make one frame.

    Raises:
        StreamsError: Kafka was needed and does not answer.
    """
    chosen = list(processors)
    workers, problems = everything(settings.state_dir, [one.group for one in chosen])
    table = Table(box=None, pad_edge=False, caption_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in {"PROCESSOR", "WORKER", "STATE", "WAITS ON"} else "right")
    for one in chosen:
        own = [worker for worker in workers if worker["group"] == one.group]
        rows = _rows(own) if own else [_from_kafka(settings, admin, one)]
        for number, row in enumerate(rows):
            table.add_row(one.group if number == 0 else "", *row)
    table.caption = "\n".join(f"! {problem['group']}: {problem['what']}" for problem in problems) or None
    return table


def _rows(workers: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row for each worker, and the sum of them first where there are several."""
    rows = [_row(str(worker["pid"] or "-"), [worker]) for worker in workers]
    return [_row("all", workers), *rows] if len(rows) > 1 else rows


def _row(name: str, workers: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    parts = [part for worker in workers for part in worker["partitions"]]
    slowest = max(parts, key=lambda part: (part["stalled_seconds"], part["lag_seconds"]), default=None)
    states = {worker["state"] for worker in workers} | {part["state"] for part in parts} - {"idle"}
    return (
        name,
        ", ".join(sorted(states)),
        f"{sum(worker['records_per_second'] for worker in workers):,.0f}",
        f"{sum(part['lag'] for part in parts):,}",
        spell(max((part["lag_seconds"] for part in parts), default=0)),
        f"{sum(part['waiting'] for part in parts):,}",
        f"{sum(part['parked'] for part in parts):,}",
        f"{sum(worker['dead_letters'] for worker in workers):,}",
        f"{sum(worker['cores'] for worker in workers):.2f}",
        f"{sum(worker['memory_bytes'] for worker in workers) / 1e6:,.0f}",
        _start(workers),
        slowest["waits_on"] if slowest else "",
    )


def _start(workers: Sequence[Mapping[str, Any]]) -> str:
    """Return how long the slowest took from its process's start until it was ready."""
    slowest = max((worker["start_seconds"] or 0.0 for worker in workers), default=0.0)
    return f"{slowest:.1f} s" if slowest else "-"


def _from_kafka(settings: Settings, admin: Admin, one: Processor) -> tuple[str, ...]:
    source = (one.source.name, one.source.partitions)
    stand: Standing = standing(admin, settings, one.group, source, pause=lambda _: None)
    now_ms = time.time_ns() // 1_000_000
    ages = [max(0, now_ms - part.next_ms) / 1000 for part in stand.partitions if part.next_ms is not None]
    lag = sum(part.lag for part in stand.partitions)
    state = f"group {stand.state.lower().replace('_', ' ')}, {stand.members} members" if stand.members else "no members"
    return (
        "elsewhere" if stand.members else "none",
        state,
        "-",
        f"{lag:,}",
        spell(max(ages, default=0)),
        *"------",
        "",
    )
