"""The policies of a file: spelled as in a project, and refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
from libs.backtest.tests.scene import COLUMNS, build, deployment

from headrace.errors import Misconfigured
from headrace.project import Binary, Deployment, LossChange, Number, PageHinkley, Training
from headrace_backtest.policies import OWN, parsed, policies_of

DECLARED = Deployment(
    "d", "u", [Number(name, -9, 9) for name in COLUMNS], label=Binary("late", "6h"), training=Training(build),
    monitoring=[LossChange(), PageHinkley()],
)  # fmt: skip


def only(fields: dict[str, Any]) -> Any:
    return parsed({"mine": fields}, DECLARED, deployment(), "file")[0].deployment


def test_without_a_file_the_own_policy_is_tried() -> None:
    found = policies_of(DECLARED, deployment(), None)
    assert [(policy.name, policy.deployment) for policy in found] == [(OWN, deployment())]


def test_what_is_named_replaces_what_is_declared_and_nothing_else() -> None:
    found = only({"monitoring": [{"kind": "PageHinkley", "threshold": 1.5}]})
    assert [(test.detector, test.threshold) for test in found.monitoring] == [("page_hinkley", 1.5)]
    assert found.retraining == deployment().retraining
    found = only({"retraining": {"on": ["drift"], "cooldown": "3d", "unhelpful": 2}})
    assert (found.retraining.on, found.retraining.cooldown_s, found.retraining.unhelpful) == (("drift",), 259_200.0, 2)
    assert only({"retraining": False}).retraining is None
    assert only({"monitoring": []}).monitoring == ()
    charts = only({"monitoring": [{"kind": "Charts", "pages": "2 per year"}]})
    assert charts.charts is not None
    assert only({"retraining": False}).charts is None
    found = only({"monitoring": [{"kind": "Charts", "pages": "2 per month"}]})
    assert (found.monitoring, found.charts.pages) == ((), 2.0)
    assert only({"monitoring": []}).charts is None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"monitorng": []}, "a policy has no such key, got 'monitorng': did you mean 'monitoring'"),
        ({"monitoring": [{"kind": "Page"}]}, "headrace.project has no 'Page'"),
        ({"monitoring": [{"threshold": 1}]}, "is a list of"),
        ({"monitoring": "all"}, "monitoring is a list"),
        ({"monitoring": [{"kind": "PageHinkley", "treshold": 1}]}, "unexpected keyword argument 'treshold'"),
        ({"retraining": {"cooldown": "soon"}}, r"\[mine\] .*a duration is written"),
        (3, "is no policy"),
    ],
)
def test_what_is_no_policy_is_refused(fields: Any, sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        only(fields)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    with pytest.raises(Misconfigured, match="cannot read the policies"):
        policies_of(DECLARED, deployment(), path)
    path.write_text("[x")
    with pytest.raises(Misconfigured, match="are no TOML"):
        policies_of(DECLARED, deployment(), path)
    path.write_text("")
    with pytest.raises(Misconfigured, match="names no policy"):
        policies_of(DECLARED, deployment(), path)
