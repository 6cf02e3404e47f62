"""A plan from a file: fields as in a project, in place of the deployment's; what is wrong is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
from tests.cases.recorded_traffic import deployment

from headrace.errors import Misconfigured
from headrace.project import Canary
from headrace_cli.simulation.plan_file import changed, plan_of

FOUND = deployment(Canary(margin=0.02))


def test_without_a_file_the_plan_is_the_deployments() -> None:
    assert plan_of(FOUND, None) == FOUND.rollout


def test_fields_of_a_file_replace_the_deployments_own(tmp_path: Path) -> None:
    toml = tmp_path / "plan.toml"
    toml.write_text('season = "7d"\nmin_cycles = 6\nlabel_delay = "11h"\nmissing = "at_random"\nalpha = 0.1\n')
    found = plan_of(FOUND, toml)
    assert (found.season_s, found.min_cycles, found.label_delay_s) == (604_800.0, 6, 39_600.0)
    assert (found.missing, found.alpha, found.margin, found.shares) == ("at_random", 0.1, 0.02, FOUND.rollout.shares)
    other = tmp_path / "plan.json"
    other.write_text('{"margin": null, "season": null, "ranking_limit": 0.3, "block": 1800}')
    found = plan_of(FOUND, other)
    assert (found.margin, found.season_s, found.ranking_limit, found.block_s) == (None, None, 0.3, 1800.0)


def test_toml_has_no_null_so_none_is_a_word() -> None:
    assert changed(FOUND, {"season": "none", "margin": "none"}, "f").season_s is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"saeson": "1d"},
            "f: a plan has no such key, got 'saeson': did you mean 'season'? There are alpha, margin, ranking_limit, season,"
            " min_cycles, block, label_delay, missing, give_up_after, rollback_window",
        ),
        ({"margin": "small"}, "f: margin is a number, got 'small'"),
        ({"margin": True}, "f: margin is a number, got True"),
        ({"min_cycles": 14.5}, "f: min_cycles is a whole number, got 14.5"),
        ({"missing": 3}, "f: missing is a text, got 3"),
        ({"season": "daily"}, "f: season: a duration is written like 15m, 3h or 180d, got 'daily'"),
        ({"block": None}, "f: block: a duration is written like 15m, 3h or 180d, or is a number of seconds, got None"),
        ({"ranking_limit": 40}, "f: deployment d: rollout ranking_limit must lie between 0 and 1, got 40.0"),
        ({"season": "90m"}, "f: deployment d: rollout season must be a multiple of block, got 5400 s and 3600 s"),
    ],
)
def test_wrong_fields_are_refused_in_one_sentence(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        changed(FOUND, fields, "f")
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("plan.toml", "margin = ", "is no TOML: "),
        ("plan.json", "{margin: 1}", "is no JSON: "),
        ("plan.json", "[1]", "must be an object of fields, got list"),
        ("plan.json", "[" * 50_000, "is no JSON: "),
        ("plan.toml", "#" * 100_001, "is longer than 100,000 bytes: it is no plan"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Misconfigured) as refused:
        plan_of(FOUND, tmp_path / name)
    assert message in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"cannot read the plan .*nowhere.toml: No such file or directory"):
        plan_of(FOUND, tmp_path / "nowhere.toml")
