"""The engines that run processors: the native one, and Faust for teams that run it already."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from streams import assembly
from streams.errors import UsageError
from streams.settings import Settings
from streams.topology import Processor

NATIVE = "native"
_FAUST = "streams.faust_engine.run"  # imported only where it is asked for: it is an extra


def engine(processors: Sequence[Processor], settings: Settings) -> assembly.Run:
    """Return what runs a worker, after a look at whether it runs these processors.

    Raises:
        UsageError: the engine is not installed, or does not run them.
    """
    if settings.engine == NATIVE:
        return assembly.run_worker
    try:
        module = importlib.import_module(_FAUST)
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"the faust engine needs {missing.name}, which is not installed",
            fix="pip install 'straightstream[faust]'",
        ) from missing
    module.check(processors, settings)
    run: assembly.Run = module.run_worker
    return run
