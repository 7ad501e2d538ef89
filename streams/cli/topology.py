"""`streams topology`: what an app's processors read and write, and how their values are decoded."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import AppTarget, Output, OutputFormat
from streams.cli.show import show
from streams.codec_plans import topic_plans
from streams.load import load_app


def topology(
    target: AppTarget,
    processor: Annotated[
        list[str] | None, typer.Option("--processor", "-p", metavar="NAME", help="This one only; repeatable.")
    ] = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Show the topics of an app's processors with the codec plan of each version; nothing is connected to.

    `native` batches go through a library, `generated` ones through Python made for the schema, and `why` says why.
    """
    show(
        [plan._asdict() for one in load_app(target).select(processor or []) for plan in topic_plans(one)],
        output,
    )
