"""The error rate of a rollout, and the parts of it that are for each test on labels."""

from dataclasses import dataclass

# The level at which PASS and superiority count as shown.
SHOWN_LEVEL = 0.05
# The part of a rollout's alpha that is for labels where guardrails have the rest.
_LABELS = 0.5
_LEVEL, _RANKING, _GROSS = 0.5, 0.4, 0.1


def labels_alpha(alpha: float, *, has_guardrails: bool) -> float:
    """The part of a rollout's error rate that is for labels: all of it where no guardrail can roll back.

    >>> labels_alpha(0.05, has_guardrails=True), labels_alpha(0.05, has_guardrails=False)
    (0.025, 0.05)
    """
    return alpha * (_LABELS if has_guardrails else 1.0)


@dataclass(frozen=True, slots=True)
class LabelAlphas:
    """The error rate of each test on labels: of FAIL by level, ranking and gross; `shown`: of a wrong PASS."""

    level: float
    ranking: float
    gross: float
    shown: float = SHOWN_LEVEL

    @classmethod
    def of(cls, alpha: float) -> "LabelAlphas":
        """The parts of the error rate of the labels.

        >>> found = LabelAlphas.of(0.025)
        >>> round(found.level, 6), round(found.ranking, 6), round(found.gross, 6), found.shown
        (0.0125, 0.01, 0.0025, 0.05)
        """
        return cls(alpha * _LEVEL, alpha * _RANKING, alpha * _GROSS)
