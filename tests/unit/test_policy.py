"""What a policy answers, by exception, attempt and time."""

from __future__ import annotations

import pytest

from streams import DEAD_LETTER, PARK, SKIP, STOP, Failure, FailurePolicy, Retry
from streams.errors import DecodeError, EncodeError, HandlerError, RecordError, SendError, UsageError
from streams.failures.policy import DEFAULT, as_failure


def caused_by(cause: BaseException) -> HandlerError:
    error = HandlerError()
    error.__cause__ = cause
    return error


def test_handlers_are_tried_again_and_bytes_that_do_not_decode_are_not() -> None:
    assert DEFAULT.answer(caused_by(ValueError())).retry == Retry()
    for error in (DecodeError("truncated"), EncodeError("no number"), SendError("too large")):
        assert DEFAULT.answer(error).retry is None
        assert DEFAULT.answer(error).then is DEAD_LETTER


@pytest.mark.parametrize("bare", list(FailurePolicy))
def test_a_bare_answer_is_given_at_once(bare: FailurePolicy) -> None:
    policy = as_failure(bare)
    answer = policy.answer(caused_by(ValueError()))
    assert (answer.retry, answer.then, answer.pauses) == (None, bare, False)


BY_TYPE = Failure(
    Retry(5),
    then=PARK,
    by_type={
        OSError: Failure(Retry(9), then=STOP),
        ConnectionError: SKIP,
        DecodeError: Failure(Retry(2), then=SKIP),
        HandlerError: DEAD_LETTER,
    },
)


@pytest.mark.parametrize(
    ("error", "then", "attempts"),
    [
        (caused_by(FileNotFoundError()), STOP, 9),
        (caused_by(ConnectionResetError()), SKIP, None),  # more specific than OSError
        (caused_by(ValueError()), DEAD_LETTER, None),  # ours comes after the user's own
        (DecodeError("truncated"), SKIP, 2),  # named, so it is tried again
        (EncodeError("no number"), PARK, None),
    ],
)
def test_the_most_specific_type_answers(error: RecordError, then: FailurePolicy, attempts: int | None) -> None:
    answer = BY_TYPE.answer(error)
    assert answer.then is then
    assert (answer.retry.attempts if answer.retry else None) == attempts


def test_delays_double_up_to_the_last_and_are_shortened_by_up_to_a_half() -> None:
    retry = Retry(20, "1s..1m")
    for failures, whole in [(1, 1_000), (2, 2_000), (5, 16_000), (7, 60_000), (19, 60_000)]:
        delays = [retry.delay_ms(failures, salt) for salt in range(500)]
        assert whole / 2 <= min(delays) < whole * 0.55
        assert whole * 0.95 < max(delays) <= whole
        assert len(set(delays)) > 100
    assert retry.delay_ms(3, 7) == retry.delay_ms(3, 7)


def test_the_budget_ends_by_attempts_and_by_time() -> None:
    retry = Retry(3, "1s..1s", within="10s")
    assert [retry.due_ms(failures, 0, 0, 1) is not None for failures in (1, 2, 3, 4)] == [True, True, True, False]
    assert retry.due_ms(1, 0, 9_000, 1) is not None
    assert retry.due_ms(1, 0, 9_999, 1) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(0),
        lambda: Retry(3, "5s..1s"),
        lambda: Retry(3, "soon"),
        lambda: Retry(3, within="later"),
        lambda: Failure(then="park"),
        lambda: Failure("twice"),
        lambda: Failure(by_type={"ValueError": SKIP}),
        lambda: Failure(by_type={ValueError: "skip"}),
        lambda: as_failure("park"),
    ],
)
def test_what_is_no_policy_is_refused_where_it_is_written(make: object) -> None:
    with pytest.raises(UsageError) as raised:
        make()  # type: ignore[operator] # wrong on purpose
    assert raised.value.fix
