"""Trusted construction: models out of values that a schema has typed already, without validating them again.

A model has four slots; its class's `__init__` would fill them from Rust after checking every field. All models of a
plan share one set of "fields set": models are frozen, and copies copy it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from pydantic import BaseModel

new: Final = object.__new__
set_dict: Final = BaseModel.__dict__["__dict__"].__set__
set_fields: Final = BaseModel.__dict__["__pydantic_fields_set__"].__set__
set_extra: Final = BaseModel.__dict__["__pydantic_extra__"].__set__
set_private: Final = BaseModel.__dict__["__pydantic_private__"].__set__

_run: Final = deque[None](maxlen=0).extend  # lets an iterator run without keeping what it gives


def trusted(model: type[Any], rows: Sequence[dict[str, Any]], fields: set[str]) -> list[Any]:
    """Return one model for each dictionary of its fields, which becomes its own."""
    made = list(map(new, repeat(model, len(rows))))
    _run(map(set_dict, made, rows))
    _run(map(set_fields, made, repeat(fields)))
    _run(map(set_extra, made, repeat(None)))
    _run(map(set_private, made, repeat(None)))
    return made
