"""The pytest plugin where no broker is needed: choices, markers, what is told, and what is not imported."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from streams.errors import StreamsError
from streams.testing import backends

APP = """
    import pytest
    from streams import App
    from stories.social.events import PostPublished

    def test_app(stream_app):
        app = App("shop")
        posts = app.topic("shop.posts", PostPublished, key="author_id")

        @app.processor(posts)
        def look(post, ctx): ...

        assert stream_app(app, workers=2).published(posts) == []
"""
ONE_OF_EACH = """
    import pytest

    def test_kafka(kafka): ...
    def test_registry(schema_registry): ...
    def test_topic(kafka_topic): ...
"""
MARKED = """
    import pytest

    @pytest.mark.kafka("memory", "embedded", "container")
    def test_it(kafka_backend):
        print("runs on", kafka_backend)
"""
FOREIGN = {"streams", "confluent_kafka", "docker", "testcontainers", "pydantic"}


GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the choices that this very run was made with away from the runs within it."""
    for name in ("STREAMS_TEST_KAFKA", "STREAMS_SCHEMA_REGISTRY_URL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))


@pytest.fixture
def no_containers(monkeypatch: pytest.MonkeyPatch) -> str:
    """Be on a machine without a container engine."""
    problem = "no engine answers; start one"
    monkeypatch.setattr(backends, "container_problem", lambda: problem)
    return problem


def test_a_session_that_needs_no_kafka_imports_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"""
        import sys

        def test_nothing():
            assert "streams_pytest" in sys.modules
            assert not {FOREIGN!r} & set(sys.modules)
    """)
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)


def test_it_can_be_turned_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE_OF_EACH)
    result = pytester.runpytest("-p", "no:straightstream")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*fixture 'kafka' not found*"])


def test_options_markers_and_fixtures_are_told(pytester: pytest.Pytester) -> None:
    pytester.runpytest("--help").stdout.fnmatch_lines(
        ["*Kafka for tests*", "*--kafka=BACKEND*", "*--schema-registry-url*"]
    )
    pytester.runpytest("--markers").stdout.fnmatch_lines(["@pytest.mark.kafka(*", "@pytest.mark.kafka_topic(*"])
    pytester.runpytest("--fixtures").stdout.fnmatch_lines_random(
        ["kafka *", "schema_registry *", "kafka_topic *", "stream_app *", "kafka_backend *"]
    )


@pytest.mark.parametrize("backend", ["kafka", "localhost", "host:", ":9092", "host:port", "a:1,b", "http://a:1"])
def test_an_unknown_backend_is_one_clear_sentence(pytester: pytest.Pytester, backend: str) -> None:
    result = pytester.runpytest(f"--kafka={backend}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: there is no Kafka {backend!r} for tests; use memory, embedded, container or HOST:PORT"
    )
    assert not any(result.errlines[1:])


def test_an_address_needs_its_registry(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = pytester.runpytest("--kafka=b1:9092,b2:9092")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "needs its schema registry: --schema-registry-url or STREAMS_SCHEMA_REGISTRY_URL" in result.errlines[0]
    pytester.makepyfile("def test_nothing(): ...")
    pytester.runpytest("--kafka=b:9092", "--schema-registry-url=http://b").assert_outcomes(passed=1)
    monkeypatch.setenv("STREAMS_SCHEMA_REGISTRY_URL", "http://b")
    pytester.runpytest("--kafka=b:9092").assert_outcomes(passed=1)


def test_the_option_beats_the_environment_and_that_the_ini_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nkafka = container")
    pytester.runpytest().stdout.fnmatch_lines(["kafka: container (the ini key kafka)"])
    monkeypatch.setenv("STREAMS_TEST_KAFKA", "embedded")
    pytester.runpytest().stdout.fnmatch_lines(["kafka: embedded (STREAMS_TEST_KAFKA)"])
    pytester.runpytest("--kafka=memory").stdout.fnmatch_lines(["kafka: memory (--kafka)"])


def test_left_to_itself_it_takes_containers_where_they_can_be_had(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("def test_it(kafka_backend): print('runs on', kafka_backend)")
    monkeypatch.setattr(backends, "container_problem", lambda: None)
    pytester.runpytest("-s").stdout.fnmatch_lines(
        ["kafka: container, because an engine and images are there", "*runs on container*"]
    )
    monkeypatch.setattr(backends, "container_problem", lambda: "no engine answers")
    pytester.runpytest("-s").stdout.fnmatch_lines(["kafka: embedded, because no engine answers", "*runs on embedded*"])


def test_nothing_is_told_where_nothing_is_needed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): ...")
    assert "kafka:" not in pytester.runpytest().stdout.str()


def test_in_memory_an_app_runs_and_what_needs_an_address_skips(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(APP, test_fixtures=ONE_OF_EACH)
    result = pytester.runpytest("--kafka=memory", "-rs")
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["*a cluster in memory has no address; use stream_app, or --kafka=embedded"])


def test_a_marked_test_runs_on_each_of_its_backends(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MARKED)
    result = pytester.runpytest("-s", "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(
        ["*test_it[[]memory[]]*", "*test_it[[]embedded[]]*", "*test_it[[]container[]]*", "*runs on container*"]
    )


@pytest.mark.parametrize(
    ("choice", "passed", "skipped"), [("memory", 1, 0), ("container", 1, 0), ("b:9092", 1, 0), ("embedded", 1, 0)]
)
def test_an_explicit_choice_leaves_one_of_them(
    pytester: pytest.Pytester, choice: str, passed: int, skipped: int
) -> None:
    pytester.makepyfile(MARKED)
    result = pytester.runpytest(f"--kafka={choice}", "--schema-registry-url=http://b", "-s")
    result.assert_outcomes(passed=passed, skipped=skipped)
    result.stdout.fnmatch_lines([f"*runs on {choice}*"])


@pytest.mark.parametrize("choice", ["memory", "container"])
def test_a_choice_that_is_not_among_them_skips_and_says_so(pytester: pytest.Pytester, choice: str) -> None:
    pytester.makepyfile(MARKED.replace('"memory", "embedded", "container"', '"embedded"'))
    result = pytester.runpytest(f"--kafka={choice}", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"*runs on embedded only, and --kafka chose {choice}"])


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ('@pytest.mark.kafka("redpanda")', "*mark.kafka takes memory, embedded, container, not [[]'redpanda'[]]"),
        ("@pytest.mark.kafka", "*mark.kafka takes memory, embedded, container, not nothing"),
    ],
)
def test_a_marker_with_other_names_is_told(pytester: pytest.Pytester, marker: str, told: str) -> None:
    pytester.makepyfile(f"import pytest\n{marker}\ndef test_it(kafka): ...")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])
    assert "Traceback" not in result.stdout.str()


def test_a_marker_on_a_test_without_kafka_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('import pytest\n@pytest.mark.kafka("memory")\ndef test_it(): ...')
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mark.kafka without a fixture of Kafka; use stream_app or kafka"])


def test_what_is_missing_skips_and_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, no_containers: str
) -> None:
    pytester.makepyfile(MARKED.replace("kafka_backend", "kafka").replace('"memory", "embedded", ', ""))
    reason = f"*there are no containers: {no_containers}; --kafka=embedded needs none*"
    result = pytester.runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([reason])
    monkeypatch.setenv("CI", "true")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([reason])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.usefixtures("no_containers")
def test_what_was_asked_for_and_is_missing_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE_OF_EACH)
    pytester.runpytest("--kafka=container").assert_outcomes(errors=3)


@pytest.mark.usefixtures("no_containers")
def test_a_start_that_failed_is_not_tried_again(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail() -> None:
        tried.append(1)
        raise StreamsError("Kafka does not start; its last words", fix="make room")

    monkeypatch.setattr(backends, "_Embedded", fail)
    pytester.makepyfile(ONE_OF_EACH, test_more=MARKED.replace("kafka_backend", "kafka").replace('"memory", ', ""))
    result = pytester.runpytest("-rs")
    result.assert_outcomes(skipped=5)
    result.stdout.fnmatch_lines(["*Kafka does not start; its last words; make room"])
    assert tried == [1]


def test_the_tests_of_the_guide_run(pytester: pytest.Pytester) -> None:
    [section] = re.findall(r"^## Testing$(.*?)^## ", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    snippets = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    pytester.makepyfile(**{f"test_{number}": snippet for number, snippet in enumerate(snippets)})
    pytester.runpytest("--kafka=memory").assert_outcomes(passed=1, skipped=len(snippets) - 1)
