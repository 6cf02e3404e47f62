"""The rollout machine as a table: what follows from a message in a phase."""

import pytest
from services.registry.tests.rollout_machine import (
    BACK,
    BEGUN,
    MESSAGES,
    SWITCHED,
    Machine,
    held,
    in_test,
    names,
    paused,
    shadowing,
    warming,
)

from headrace.events.registry import (
    CommandRefused,
)
from headrace_registry.core.machine import phase_of

PHASES = {
    "idle": lambda machine: machine,
    "warming": warming,
    "shadowing": shadowing,
    "canary": Machine.canary,
    "testing": in_test,
    "paused": paused,
    "held": held,
}
REFUSED = ["command.refused"]
ROWS: dict[str, dict[str, list[str]]] = {
    #             idle           warming         moving                   paused                held
    "start":      {"idle": BEGUN, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "held": REFUSED},
    "abort":      {"idle": REFUSED, "warming": BACK, "moving": BACK, "paused": BACK, "held": BACK},
    "pause":      {"idle": REFUSED, "warming": ["rollout.paused"], "moving": ["rollout.paused"], "paused": REFUSED, "held": ["rollout.paused"]},
    "resume":     {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": ["rollout.resumed"], "held": ["rollout.resumed"]},
    "promote":    {"idle": REFUSED, "warming": REFUSED, "moving": SWITCHED, "paused": SWITCHED, "held": SWITCHED},
    "retry":      {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "held": REFUSED},
    "roll back":  {"idle": REFUSED, "warming": REFUSED, "moving": REFUSED, "paused": REFUSED, "held": REFUSED},
    "warmed":     {"idle": [], "warming": ["rollout.advanced", "route.changed"], "moving": [], "paused": [], "held": []},
    "unloadable": {"idle": [], "warming": BACK, "moving": BACK, "paused": BACK, "held": BACK},
    "silent":     {"idle": [], "warming": [], "moving": ["rollout.paused"], "paused": [], "held": []},
    "silent for long": {"idle": [], "warming": [], "moving": [], "paused": [], "held": BACK},
    "not warm":   {"idle": [], "warming": BACK, "moving": [], "paused": [], "held": []},
    "not loaded": {"idle": [], "warming": BACK, "moving": BACK, "paused": BACK, "held": BACK},
    "harm":       {"idle": [], "warming": [], "moving": BACK, "paused": BACK, "held": ["rollout.resumed", *BACK]},
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("message", MESSAGES)
def test_what_follows_from_a_message_in_a_phase(message: str, phase: str) -> None:
    machine = PHASES[phase](Machine())
    assert phase_of(machine.entry) == phase
    row = ROWS[message]
    facts = machine.take(MESSAGES[message](machine))
    assert names(facts) == row.get(phase, row["moving"])
    for fact in facts:
        assert not isinstance(fact, CommandRefused) or len(fact.reason) > 15
