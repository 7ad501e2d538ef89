"""How a download is shown: a bar where a person watches, one line otherwise; always on stderr."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

MEGABYTE = 1_000_000


@contextlib.contextmanager
def download_meter(files: int, size: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told of arrived bytes, from any thread."""
    console = Console(stderr=True)
    what = f"downloading Kafka and the schema registry, once: {files} files, {size / MEGABYTE:.0f} MB"
    if not console.is_terminal:
        console.print(what, soft_wrap=True, highlight=False)
        yield lambda _: None
        return
    columns = (
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console.print(what, highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=size)
        yield lambda arrived: progress.advance(task, arrived)
