"""Finding an app, and saying what is wrong where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.load import load_app


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("loaded_"):
            del sys.modules[name]


def refusal(target: str) -> str:
    with pytest.raises(UsageError) as raised:
        load_app(target)
    assert raised.value.fix
    return str(raised.value)


def test_an_app_of_the_current_folder(folder: Path) -> None:
    (folder / "loaded_good.py").write_text("from streams import App\napp = App('good')\n")
    assert load_app("loaded_good:app").name == "good"


@pytest.mark.parametrize("target", ["", "x", "x:", ":app", "loaded_none"])
def test_text_of_another_form(target: str) -> None:
    assert "does not name an app" in refusal(target)


def test_a_module_that_is_not_there() -> None:
    assert "module loaded_absent cannot be imported: ModuleNotFoundError" in refusal("loaded_absent:app")
    assert "cannot be imported" in refusal(".relative:app")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = 1 +", "SyntaxError"),
        ("def f():\n    raise RuntimeError('broken')\nf()", "RuntimeError: broken"),
        ("import sys\nsys.exit(0)", "SystemExit"),
    ],
)
def test_a_module_that_fails_is_told_with_the_users_own_line(folder: Path, body: str, told: str) -> None:
    (folder / "loaded_bad.py").write_text(body)
    said = refusal("loaded_bad:app")
    assert told in said
    assert "load.py" not in said
    if "SyntaxError" not in told:
        assert "loaded_bad.py:" in said


def test_a_mistake_in_a_declaration_is_told_as_it_is(folder: Path) -> None:
    (folder / "loaded_wrong.py").write_text("from streams import App\napp = App('Wrong Name')\n")
    assert refusal("loaded_wrong:app").startswith("'Wrong Name' cannot name an app")


def test_another_attribute_is_suggested(folder: Path) -> None:
    (folder / "loaded_other.py").write_text("from streams import App\nshop = App('shop')\nnumber = 1\n")
    assert "use loaded_other:shop" in refusal("loaded_other:app")
    assert "use loaded_other:shop" in refusal("loaded_other:number")
    (folder / "loaded_empty.py").write_text("")
    assert "App(" in refusal("loaded_empty:app")
