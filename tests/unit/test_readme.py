"""The documents' Python snippets run, and do what they say."""

import inspect
import re
from datetime import UTC, datetime
from pathlib import Path

from stories.social.events import Followers, Notification, PostPublished
from streams.avro.codec import Codec
from streams.record import Record
from streams.state.task_state import TaskState
from streams.task import Task

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]


class Rows(TaskState):
    """State with fixed rows, so that a snippet's handler has something to read."""

    def __init__(self, rows: dict[str, object]) -> None:
        super().__init__()
        self._rows = rows

    def get(self, _declared, key):
        return self._rows.get(key)


def snippets(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


def test_every_python_snippet_runs() -> None:
    ran = called = 0
    for document in DOCUMENTS:
        for snippet in snippets(document):
            names: dict[str, object] = {"__name__": f"snippet_{ran}"}
            exec(compile(snippet, document, "exec"), names)
            ran += 1
            for test in [value for name, value in names.items() if name.startswith("test_")]:
                if not inspect.signature(test).parameters:  # the others need the plugin's fixtures
                    test()
                    called += 1
    print(f"{ran} snippets ran, {called} tests in them")
    assert ran > called > 0


def test_the_processor_of_the_readme_notifies_every_friend() -> None:
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(snippets("README.md")[0], "README.md", "exec"), names)
    processor = names["app"].processors["notify"]
    assert [table.name for table in processor.tables] == ["social.followers"]

    posts, told = Codec(PostPublished, 1), Codec(Notification, 2)
    state = Rows({"7": Followers(user_id="7", friend_ids=("8", "9"))})
    task = Task(processor, {"social.posts": posts, "social.notifications": told}, state)
    post = PostPublished(post_id="p1", author_id="7", posted_at=datetime(2026, 1, 1, tzinfo=UTC), text="hello")
    record = Record("social.posts", b"7", posts.encode([post])[0], 0, 0, 0)

    step = task.step([record], lambda: False, 0)

    assert [out.key for out in step.outputs] == [b"8", b"9"]
    assert [value.user_id for value in told.decode([out.value for out in step.outputs])] == ["8", "9"]


def test_the_readme_has_one_line_for_running_and_one_for_testing() -> None:
    text = (ROOT / "README.md").read_text()
    for heading in ("Run it", "Test it"):
        block = re.search(rf"^## {heading}\n.*?^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert block is not None
        assert len(block[1].splitlines()) == 1


def test_links_of_the_documents_lead_somewhere() -> None:
    checked = 0
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"
            checked += 1
    print(f"{checked} links checked")
    assert checked > 0
