"""The base class of generated models and the types that their fields are made of.

Values read from a store are shared by handlers, so a model is immutable all the way down: frozen classes, tuples for
arrays, `FrozenDict` for maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streams.avro.schema import Schema
from streams.errors import UsageError

K = TypeVar("K")
V = TypeVar("V")

PRIMITIVES: dict[type, str] = {str: "string", int: "long", float: "double", bytes: "bytes", bool: "boolean"}

Int = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
Long = Annotated[int, Field(ge=-(1 << 63), le=(1 << 63) - 1)]


class FrozenDict(dict[K, V]):
    """A dictionary that cannot be changed and can be hashed if its values can."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("maps of a model cannot be changed: build a new model with `model_copy(update=…)`")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # dict has none: this one never changes
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[K, V]]]:
        return type(self), (dict(self),)


FrozenMap = Annotated[Mapping[str, V], AfterValidator(FrozenDict)]


class AvroModel(BaseModel):
    """Base of generated models.

    `__avro_versions__` holds the schema texts of versions 1..N of the contract, the last being the model's own;
    types that are only part of other contracts have none.
    """

    model_config = ConfigDict(
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        protected_namespaces=(),
    )
    __avro_name__: ClassVar[str]
    __avro_versions__: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Models:
    """The Python classes that stand for the types of a schema.

    `types` has the generated classes by full name; `root` is the class of the whole value, perhaps a subclass, and
    `validate` tells that it has rules of its own, so that building it means validating. With `dict` as root, records
    are read as dictionaries and enums as text.
    """

    root: type[Any]
    types: Mapping[str, type[Any]]
    validate: bool


def models_of(model: type[Any]) -> Models:
    """Return the classes behind a generated model, a subclass of one, or a primitive type."""
    if not issubclass(model, AvroModel):
        return Models(model, {}, validate=False)
    model.model_rebuild()
    generated = next(base for base in model.__mro__ if "__avro_name__" in base.__dict__)
    types: dict[str, type[Any]] = {}
    pending: list[Any] = [generated]
    while pending:
        found = pending.pop()
        name = getattr(found, "__avro_name__", None)
        if name is None:
            pending += get_args(found)
        elif name not in types:
            types[name] = found
            pending += [field.annotation for field in getattr(found, "model_fields", {}).values()]
    return Models(model, types, validate=_has_rules(model, generated))


def _has_rules(model: type[AvroModel], generated: type[AvroModel]) -> bool:
    """Tell whether a subclass does more than its generated base, which the schema alone makes valid."""
    decorators = model.__pydantic_decorators__
    return model is not generated and (
        any(
            (
                decorators.validators,
                decorators.field_validators,
                decorators.root_validators,
                decorators.model_validators,
            )
        )
        or [repr(f) for f in model.model_fields.values()] != [repr(f) for f in generated.model_fields.values()]
        or any(
            name in base.__dict__
            for base in _subclasses(model, generated)
            for name in ("__init__", "__new__", "model_post_init")
        )
    )


def _subclasses(model: type[AvroModel], generated: type[AvroModel]) -> Iterator[type[Any]]:
    return takewhile(lambda base: base is not generated, model.__mro__)


def versions_of(model: type[Any]) -> tuple[str, ...]:
    """Return the schema texts of versions 1..N of a generated model's contract; a primitive type has one.

    Raises:
        UsageError: the type is neither a primitive nor a contract's model.
    """
    if model in PRIMITIVES:
        return (f'"{PRIMITIVES[model]}"',)
    versions: tuple[str, ...] = getattr(model, "__avro_versions__", ())
    if not versions:
        raise UsageError(
            f"{model.__name__} has no Avro schema",
            fix="use a class made by `streams schema generate`, a subclass of one, or str, int, float, bytes, bool",
        )
    return versions


def schema_of(model: type[Any]) -> Schema:
    """Return the schema that values of a generated model, or of a primitive type, are written with.

    Raises:
        UsageError: as `versions_of`.
    """
    return Schema(versions_of(model)[-1], where=model.__name__)
