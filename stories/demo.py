"""`streams demo`: see events flow on a cluster of its own, and see that nothing is lost and nothing comes twice."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stories.catalog import STORIES, Story
from stories.display import Display
from stories.run import Outcome, StoryRun
from streams.cli.options import BootstrapServers, Properties, RegistryUrl
from streams.embedded import Cluster
from streams.errors import EXIT_FAILED, UsageError
from streams.logs import configure_logs
from streams.settings import load_settings, parse_properties

SAMPLE_SEED = 2026


class Which(StrEnum):
    """What the demo shows."""

    SOCIAL = "social"
    SHIPMENTS = "shipments"


def demo(
    story: Annotated[Which | None, typer.Argument(help="One story only.", metavar="[social|shipments]")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the real files; without it a sample is made up.", metavar="DIR")
    ] = None,
    kill: Annotated[int, typer.Option(min=0, help="SIGKILL so many workers on the way, in each story.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes for each processor.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Delete the stories' topics on a configured cluster.")] = False,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Run the social and shipments stories end to end on real Kafka, and check every record that comes out.

    Without a configured cluster it starts a temporary one and stops it again. Exit code 1 means that something was
    lost or came twice.
    """
    chosen = [STORIES[story.value]] if story else list(STORIES.values())
    given = {
        "bootstrap_servers": bootstrap_servers,
        "schema_registry_url": schema_registry_url,
        "kafka": parse_properties(properties) if properties else None,
    }
    settings = load_settings(command_line=given, code={"log_level": "warning"})
    configure_logs(settings.log_format, settings.log_level)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds, so that all we started stops
    if data is not None:
        _check_files(data, chosen)
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as resources:
        scratch = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="streams-demo-")))
        settings = settings.model_copy(update={"state_dir": scratch / "state"})
        if settings.bootstrap_servers is None:
            _say("starting Kafka and the schema registry (the first time downloads them)")
            cluster = resources.enter_context(Cluster.ephemeral())
            settings = settings.model_copy(update=asdict(cluster.addresses))
        for one in chosen:
            directory = data or _sample(one, scratch)
            run = StoryRun(one, settings, directory, kills=kill, workers=workers)
            run.prepare(reset=reset)
            with Display(one.name) as display:
                outcomes[one.name] = run.run(display.show)
    _print(outcomes, as_json=as_json, real=data is not None)
    if not all(outcome.verdict.holds for outcome in outcomes.values()):
        raise typer.Exit(EXIT_FAILED)


def _check_files(data: Path, stories: list[Story]) -> None:
    missing = [name for story in stories for name in story.files if not (data / name).is_file()]
    if missing:
        raise UsageError(
            f"--data {data} has no {', '.join(missing)}",
            fix="point it at the folder with the stories' files, or leave it out for a made-up sample",
        )


def _sample(story: Story, scratch: Path) -> Path:
    directory = scratch / story.name
    directory.mkdir()
    story.write_sample(directory, SAMPLE_SEED)
    return directory


def _print(outcomes: dict[str, Outcome], *, as_json: bool, real: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({name: outcome.figures() for name, outcome in outcomes.items()}) + "\n")
        return
    console = Console()
    for name, outcome in outcomes.items():
        table = Table("figure", "value", title=name, title_justify="left")
        for figure, value in outcome.figures().items():
            table.add_row(figure.replace("_", " "), f"{value:,}")
        console.print(table)
        told = "every record as expected" if outcome.verdict.holds else "NOT as expected"
        console.print(f"{name}: {outcome.verdict.difference.compared:,} records compared, {told}\n")
    console.print("Try next:\n" + "\n".join(f"  {line}" for line in _next(real=real)), highlight=False, soft_wrap=True)


def _next(*, real: bool) -> list[str]:
    return [
        "streams demo --kill 3                            the same with workers killed on the way",
        *([] if real else ["streams demo --data DIR                          with real files"]),
        "streams up                                       a cluster that stays; then, beside it:",
        "streams demo -b 127.0.0.1:9092 --schema-registry-url http://127.0.0.1:9094/apis/ccompat/v7",
        "streams topic consume social.notifications -n 3  look at what came out",
        "streams group describe social.feed               see where a processor stands",
    ]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
