"""The metrics that a deployment may name for its closed windows, and of which kinds of labels each can be computed.

| own name            | of                   | what it is                                                                     |
|---------------------|----------------------|--------------------------------------------------------------------------------|
| `auc`               | classes              | area under the ROC curve; of several classes the mean of each against the rest |
| `log_loss`          | classes              | in nats                                                                        |
| `brier`             | classes              | mean squared difference to the label; of several classes summed over them      |
| `accuracy`          | classes              | share of right labels                                                          |
| `calibration_error` | classes              | expected calibration error, ten bins of equal mass                             |
| `mae`, `rmse`       | numbers              | mean absolute error, root of the mean squared error                            |
| `pinball@.9`        | numbers              | mean pinball loss at this quantile, any in 0..1                                |

Every other name is one of `sklearn.metrics`, of a scorer (`average_precision`, `neg_max_error`, which keeps the sign of its
scorer) or of a function (`f1_score`). The names are written out here, since projects are compiled where scikit-learn is
not installed. `takes`: what a metric is computed from. Scores become labels by the class with the highest probability; of two
classes by a probability of at least .5. A reference `module:function` names a function of the project.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from headrace.stats.losses import BINARY, CLASSES, NUMBER

SCORES, LABELS = "scores", "labels"
_BOTH, _TWO, _NUMBERS = (BINARY, CLASSES), (BINARY,), (NUMBER,)

PINBALL = "pinball@"
OWN: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("auc", "log_loss", "brier", "accuracy", "calibration_error"), _BOTH),
    **dict.fromkeys(("mae", "rmse"), _NUMBERS),
}
# What is computed of every deployment with a label, whether named or not.
USUAL: Mapping[str, tuple[str, ...]] = {
    BINARY: ("accuracy", "brier", "calibration_error"),
    CLASSES: ("auc", "brier", "calibration_error"),
    NUMBER: (),
}

_AVERAGED = ("f1", "jaccard", "precision", "recall")
_AVERAGES = ("macro", "micro", "weighted")


@dataclass(frozen=True, slots=True)
class Foreign:
    """A metric of scikit-learn. `kinds`: of labels; `takes`: `scores`, or `labels` that are made of scores."""

    kinds: tuple[str, ...]
    takes: str


def _foreign() -> Iterator[tuple[str, Foreign]]:
    for name in (
        *("balanced_accuracy", "matthews_corrcoef"),
        *(f"{one}_{average}" for one in _AVERAGED for average in _AVERAGES),
        *("accuracy_score", "balanced_accuracy_score", "cohen_kappa_score", "hamming_loss", "zero_one_loss"),
    ):
        yield name, Foreign(_BOTH, LABELS)
    for name in (
        *_AVERAGED,
        *(f"{one}_score" for one in _AVERAGED),
        *("neg_negative_likelihood_ratio", "positive_likelihood_ratio"),
    ):
        yield name, Foreign(_TWO, LABELS)
    for name in (
        *("average_precision", "neg_brier_score", "neg_log_loss"),
        *("roc_auc_ovo", "roc_auc_ovo_weighted", "roc_auc_ovr", "roc_auc_ovr_weighted"),
        *("average_precision_score", "brier_score_loss", "d2_log_loss_score"),
    ):
        yield name, Foreign(_BOTH, SCORES)
    for name in ("roc_auc", "roc_auc_score"):
        yield name, Foreign(_TWO, SCORES)
    for name in ("top_k_accuracy", "top_k_accuracy_score"):
        yield name, Foreign((CLASSES,), SCORES)
    for name in (
        *("d2_absolute_error_score", "explained_variance", "neg_max_error", "neg_mean_absolute_error", "r2"),
        *("neg_mean_absolute_percentage_error", "neg_mean_gamma_deviance", "neg_mean_poisson_deviance"),
        *("neg_mean_squared_error", "neg_mean_squared_log_error", "neg_median_absolute_error"),
        *("neg_root_mean_squared_error", "neg_root_mean_squared_log_error"),
        *("d2_pinball_score", "d2_tweedie_score", "explained_variance_score", "max_error", "mean_absolute_error"),
        *("mean_absolute_percentage_error", "mean_gamma_deviance", "mean_pinball_loss", "mean_poisson_deviance"),
        *("mean_squared_error", "mean_squared_log_error", "mean_tweedie_deviance", "median_absolute_error"),
        *("r2_score", "root_mean_squared_error", "root_mean_squared_log_error"),
    ):
        yield name, Foreign(_NUMBERS, SCORES)


FOREIGN: Mapping[str, Foreign] = dict(_foreign())


def is_reference(name: str) -> bool:
    """Whether a name is a reference to a function of a project.

    >>> is_reference("flights.metrics:cost"), is_reference("auc")
    (True, False)
    """
    return ":" in name


def shown(name: str) -> str:
    """The name under which a metric's values stand: that of its function for a reference.

    >>> shown("flights.metrics:cost"), shown("auc")
    ('cost', 'auc')
    """
    return name.rpartition(":")[2]


def quantile_of(name: str) -> float | None:
    """The quantile of a pinball loss; None where the name is no valid one.

    >>> quantile_of("pinball@.9"), quantile_of("pinball@2"), quantile_of("mae")
    (0.9, None, None)
    """
    if not name.startswith(PINBALL):
        return None
    try:
        found = float(name.removeprefix(PINBALL))
    except ValueError:
        return None
    return found if 0 < found < 1 else None


def kinds_of(name: str) -> tuple[str, ...] | None:
    """The kinds of labels of which a metric can be computed; None for an unknown name.

    >>> kinds_of("auc"), kinds_of("pinball@.5"), kinds_of("f1"), kinds_of("fi")
    (('binary', 'classes'), ('number',), ('binary',), None)
    """
    if quantile_of(name) is not None:
        return _NUMBERS
    return FOREIGN[name].kinds if name in FOREIGN else OWN.get(name)


def known_for(kind: str) -> list[str]:
    """The names of the metrics of a kind of label, own ones first."""
    own = [name for name, kinds in OWN.items() if kind in kinds] + ([f"{PINBALL}.9"] if kind == NUMBER else [])
    return own + sorted(name for name, found in FOREIGN.items() if kind in found.kinds)


def why_no_metric(name: str, kind: str) -> str | None:
    """Why a name is no metric of a kind of label, as the end of a sentence; None when it is one.

    >>> why_no_metric("avg_precision", "binary")
    "is unknown: did you mean 'average_precision'?"
    >>> why_no_metric("f1", "classes")
    "needs a binary label, and this one has several classes: did you mean 'f1_macro'?"
    """
    kinds = kinds_of(name)
    if kinds is not None and kind in kinds:
        return None
    known = known_for(kind)
    close = [one for one in known if one.startswith(f"{name}_")] or get_close_matches(name, known, 1)
    first = ", ".join(known[:6])
    meant = f": did you mean {close[0]!r}?" if close else f": there are {first} and metrics of scikit-learn"
    if name.startswith(PINBALL) and kind == NUMBER:
        return "needs a quantile between 0 and 1, such as pinball@.9"
    if kinds is None:
        return f"is unknown{meant}"
    return f"needs {_LABEL[kinds]}, and this one {_IS[kind]}{meant}"


_LABEL: Mapping[tuple[str, ...], str] = {
    (CLASSES,): "a label of several classes",
    _TWO: "a binary label",
    _BOTH: "a label of classes",
    _NUMBERS: "a label that is a number",
}
_IS = {BINARY: "is binary", CLASSES: "has several classes", NUMBER: "is a number"}
