"""Steps that touch the log wait for it; steps that run users' code end in one sentence."""

import pytest

from headrace.errors import Poison, Retryable
from headrace_trainer.adapters import retrying
from headrace_trainer.adapters.estimators import build_estimator
from headrace_trainer.adapters.retrying import retried
from headrace_trainer.adapters.user_code import in_thread
from headrace_trainer.core.target import Target, Unfit


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "delays_s", lambda first_s, most_s: iter([0.0] * 1000))


class Log:
    """A log that fails so many times before it answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    async def ask(self) -> str:
        if self.left > 0:
            self.left -= 1
            raise self.error
        return "answered"


async def test_a_log_that_is_away_is_waited_for_however_long_and_the_reason_is_told() -> None:
    reasons: list[str] = []
    assert await retried(Log(500, Retryable("away")).ask, reasons.append) == "answered"
    assert set(reasons) == {"away"}


async def test_an_error_that_nobody_knows_may_pass_but_does_not_last_for_ever() -> None:
    assert await retried(Log(3, AssertionError("odd")).ask, lambda _: None) == "answered"
    with pytest.raises(AssertionError, match="odd"):
        await retried(Log(500, AssertionError("odd")).ask, lambda _: None)


async def test_what_can_never_be_read_is_not_tried_again() -> None:
    log = Log(500, Poison("altered"))
    with pytest.raises(Poison):
        await retried(log.ask, lambda _: None)
    assert log.left == 499


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a\nb" + "x" * 10_000), "ValueError: a b"),
        (StopIteration(), "StopIteration: "),
        (SystemExit(3), "the code called sys.exit(3)"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (MemoryError(), "MemoryError: no more memory; the limit of a run is HEADRACE_TRAINING_MEMORY_BYTES"),
        (Mute(), "Mute: (its message cannot be read)"),
    ],
)
async def test_whatever_users_code_raises_becomes_one_line(error: BaseException, sentence: str) -> None:
    def raises(*_: object) -> None:
        raise error

    with pytest.raises(Unfit) as found:
        await in_thread(raises)
    assert str(found.value).startswith(sentence)
    assert len(str(found.value)) < 600
    with pytest.raises(Unfit, match="build\\(\\) failed: "):
        build_estimator(raises, None, 0, Target("binary"))  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(("found", "lacks"), [(None, "fit and predict_proba"), ({}, "fit and predict_proba")])
def test_an_estimator_is_what_can_be_fitted_and_asked(found: object, lacks: str) -> None:
    with pytest.raises(Unfit, match=f"without {lacks}"):
        build_estimator(lambda _: found, None, 0, Target("binary"))  # ty: ignore[invalid-argument-type]
