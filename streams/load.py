"""Finding an app by its name on the command line."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from streams.app import App
from streams.errors import StreamsError, UsageError


def load_app(target: str) -> App:
    """Import MODULE:APP, looking in the current folder too.

    Raises:
        UsageError: the text has another form, the module cannot be imported, or it has no such app.
    """
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise UsageError(f"{target!r} does not name an app", fix="write MODULE:APP, for example shop.orders:app")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except StreamsError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"module {module_name} cannot be imported: {type(error).__name__}: {error}",
            where=_own_lines(error),
            fix="run the command in the folder that holds the module, and mend what it says",
        ) from error
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        apps = [name for name, value in vars(module).items() if isinstance(value, App)]
        hint = f"use {module_name}:{apps[0]}" if apps else "make one with app = App(…)"
        raise UsageError(f"{attribute!r} in module {module_name} is not an app", fix=hint)
    return app


def _own_lines(error: BaseException) -> str:
    """Show where in the user's own code an import failed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    own = [frame for frame in frames if Path(frame.filename).resolve() != Path(__file__).resolve()]
    return ", ".join(f"{frame.filename}:{frame.lineno}" for frame in own[-3:]) or "the import path"
