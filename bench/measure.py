"""Runs, medians, and the processor time of our own and of other processes."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"
RUNS = 3


class Row(msgspec.Struct):
    """One comparison. `ratio`: how many times better ours is. `spread`: (max - min) / median of our runs."""

    name: str
    ours: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    demanded: str
    met: bool
    runs: int
    spread: float
    foreign_load_share: float


@dataclass
class Series:
    """The figures of one side, run by run."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Their median."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """How far they lie apart, by their median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0


def compare(
    name: str,
    unit: str,
    ours: Series,
    *,
    demanded: str,
    meets: Callable[[float, float | None], bool],
    foreign: float,
    peer: str | None = None,
    theirs: Series | None = None,
    higher_is_better: bool = False,
) -> Row:
    """A row of the report. `meets(ours, ratio)`: whether the demand holds."""
    other = theirs.median if theirs and theirs.values else None
    ratio = None if other is None else ours.median / other if higher_is_better else other / ours.median
    return Row(
        name,
        ours.median,
        unit,
        peer,
        other,
        ratio,
        demanded,
        meets(ours.median, ratio),
        len(ours.values),
        ours.spread,
        foreign,
    )


def below(name: str, unit: str, values: Sequence[float], demanded: str, most: float, foreign: float) -> Row:
    """A row without a peer, whose median must lie below `most`."""
    ours = Series(list(values))
    return compare(name, unit, ours, demanded=demanded, meets=lambda found, _: found < most, foreign=foreign)


class ForeignLoad:
    """The share of the machine's processor time, between begin and end, that neither we nor our children used."""

    def __enter__(self) -> "ForeignLoad":
        self._total, self._busy, self._own = *_machine(), _own()
        self.share = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        total, busy = _machine()
        strangers = (busy - self._busy) - (_own() - self._own)
        self.share = max(0.0, strangers / max(total - self._total, 1e-9))


def _machine() -> tuple[float, float]:
    times = psutil.cpu_times()
    total = sum(times[:8])
    return total, total - times.idle - times.iowait


def _own() -> float:
    """Of this process and all that it started, ended ones included."""
    used = os.times()
    own = used.user + used.system + used.children_user + used.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
            own += times.user + times.system
        except psutil.Error:
            continue
    return own


def progress(text: str) -> None:
    """Print progress."""
    print(f"  {text}", file=sys.stderr, flush=True)


def peer_python(name: str) -> Path | None:
    """The interpreter of a peer's own environment, made on demand; None, with the reason printed, if it cannot be made."""
    folder = BUILD / "peers" / name
    python = folder / "bin" / "python"
    lock = Path(__file__).parent / "peers" / f"{name}.txt"
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == lock.read_text():
        return python
    progress(f"installing {name} into an environment of its own")
    uv = ROOT / ".venv" / "bin" / "uv"
    for command in (
        [uv, "venv", "-q", "--clear", "--python", sys.executable, folder],
        [uv, "pip", "install", "-q", "--python", python, "-r", lock],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            progress(f"{name} is left out, it cannot be installed: {done.stderr.strip().splitlines()[-1]}")
            return None
    stamp.write_text(lock.read_text())
    return python


def run_json(command: Sequence[str | Path], timeout_s: float, env: dict[str, str] | None = None) -> dict | None:
    """The JSON that a process prints as its last line; None, with the reason printed, if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment,
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        progress(f"{command[1]} did not end within {timeout_s:.0f} s")
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        progress(f"{' '.join(str(part) for part in command[1:3])} failed: {last}")
        return None
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1])
