"""Words that documents share."""

from typing import Literal

Mark = Literal["ok", "attention", "page", "unknown"]
Clock = Literal["event", "wall"]
Role = Literal["viewer", "operator", "approver"]
ActName = Literal[
    "pause", "resume", "abort", "promote", "retry", "roll_back", "approve", "silence", "unsilence"
]  # fmt: skip
