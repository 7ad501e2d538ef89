"""What the suites have in common: they count what they compare, and skip what is not claimed."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, ClassVar

import pytest


class Conformance:
    """Base of a suite; `features` is a dataclass that says what the implementation claims."""

    features: ClassVar[Any]
    compared: ClassVar[int] = 0
    begun: ClassVar[int] = 0

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a suite that pytest would silently leave out, because it is abstract."""
        super().__init_subclass__(**options)
        missing = [name for name in dir(cls) if getattr(getattr(cls, name, None), "__isabstractmethod__", False)]
        if cls.__name__.startswith("Test") and missing:
            raise TypeError(f"{cls.__name__} does not define {', '.join(missing)}, so none of its tests would run")

    @classmethod
    def setup_class(cls) -> None:
        """Begin to count."""
        cls.compared = cls.begun = 0

    def setup_method(self) -> None:
        """Count the check; `needs` takes it back."""
        type(self).begun += 1

    @classmethod
    def teardown_class(cls) -> None:
        """Fail if nothing was compared: a suite that looks at nothing proves nothing."""
        print(f"{cls.__name__}: {cls.compared:,} comparisons")  # noqa: T201 - a figure for the report
        elsewhere = not cls.begun and "PYTEST_XDIST_WORKER" in os.environ  # another process has the rest of the class
        assert cls.compared or elsewhere, f"{cls.__name__} compared nothing"

    def same(self, found: Any, expected: Any, what: str = "") -> None:
        """Compare, and count it."""
        type(self).compared += 1
        assert found == expected, what

    def needs(self, feature: str) -> None:
        """Skip the check unless the feature is claimed."""
        assert feature in {field.name for field in fields(self.features)}
        if not getattr(self.features, feature):
            type(self).begun -= 1
            pytest.skip(f"feature not claimed: {feature}")
