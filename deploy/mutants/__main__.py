"""`make mutants`: changes the cores, stats and commit in small ways, and counts which changes no test notices.

Verdicts are kept in build/mutants. A killed mutant stays killed as long as its function's text does not change; a survivor is
judged again when code or tests of its package have changed. A survivor that may live is listed in may_live.toml with the reason.
"""

import argparse
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.mutants.making import Mutant, mutated
from deploy.mutants.places import BUILD, Package, packages

KILLED = frozenset({"killed", "timeout"})
LEAST_SHARE = 0.9
MAY_LIVE = Path("deploy/mutants/may_live.toml")


def make_copy(package: Package) -> list[Mutant]:
    """Write the package with all its mutants below build/, and return them."""
    source, target = package.source / package.imported, package.build / "src" / package.imported
    package.build.mkdir(parents=True, exist_ok=True)
    made: list[Mutant] = []
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.files():
        code, mutants = _made(package, path)
        (package.build / "src" / path.relative_to(package.source)).write_text(code)
        made += mutants
    present = {path.relative_to(source) for path in source.rglob("*.py")}
    for path in [p for p in target.rglob("*.py") if p.relative_to(target) not in present]:
        path.unlink()
    return made


def _made(package: Package, path: Path) -> tuple[str, list[Mutant]]:
    """A module's mutants, from the last run if neither it nor the rules have changed, because making them takes seconds."""
    module, source = package.module_of(path), path.read_text()
    rules = Path("deploy/mutants/making.py").read_text()
    kept = package.build / "made" / f"{module}.json"
    if kept.exists() and (found := json.loads(kept.read_text()))["of"] == [source, rules]:
        return found["code"], [Mutant(**mutant) for mutant in found["mutants"]]
    code, mutants = mutated(module, source)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"of": [source, rules], "code": code, "mutants": [asdict(m) for m in mutants]}))
    return code, mutants


def verdicts_of(package: Package) -> dict[str, str]:
    """Verdicts by the mutant's key."""
    kept = package.build / "verdicts.jsonl"
    return {v["key"]: v["verdict"] for v in map(json.loads, kept.read_text().splitlines())} if kept.exists() else {}


def forget_survivors(package: Package) -> None:
    """Drop the verdicts of survivors if code or tests have changed since, because they may be killed now."""
    stamp, digest = package.build / "judged.txt", package.digest()
    if not stamp.exists() or stamp.read_text() != digest:
        killed = {key: verdict for key, verdict in verdicts_of(package).items() if verdict in KILLED}
        lines = [json.dumps({"key": key, "verdict": verdict}) + "\n" for key, verdict in killed.items()]
        (package.build / "verdicts.jsonl").write_text("".join(lines))
        stamp.write_text(digest)


def judge(package: Package, mutants: Iterable[Mutant], minutes: float | None, seed: int) -> None:
    """Judge in a process that imports the mutated copy. `minutes`: when to stop, None for never; `seed`: of a quick run."""
    mutants = [asdict(mutant) for mutant in mutants]
    if not mutants:
        return
    (package.build / "plan.json").write_text(json.dumps({"mutants": mutants, "minutes": minutes}))
    path = os.pathsep.join([str((package.build / "src").resolve()), os.environ.get("PYTHONPATH", "")]).rstrip(
        os.pathsep
    )
    command = [sys.executable, "-m", "deploy.mutants.judging", package.name, *([str(seed)] if package.part else [])]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True)


def may_live() -> dict[tuple[str, str, str], str]:
    """Reasons by (module:function, changed lines before, after); `was` and `now` of an entry may be lists."""
    entries: list[dict[str, Any]] = tomllib.loads(MAY_LIVE.read_text()).get("mutant", [])
    return {(e["where"], e["was"].strip(), e["now"].strip()): e["why"] for e in entries}


def report(places: dict[str, Package], judged: dict[str, list[tuple[Mutant, str]]]) -> bool:
    """Print shares and survivors; returns whether the result is good enough. `places`: the packages, by name."""
    reasons = may_live()
    living, killed, whole = 0, 0, 0
    print(
        f"\n{'package':<12}{'mutants':>8}{'killed':>8}{'share':>8}   of them by a time limit; living: on the list, not on it"
    )
    for name, results in judged.items():
        survivors = [(mutant, verdict) for mutant, verdict in results if verdict not in KILLED]
        unlisted = [s for s in survivors if (f"{s[0].module}:{s[0].function}", s[0].was, s[0].now) not in reasons]
        died = len(results) - len(survivors)
        late = sum(verdict == "timeout" for _, verdict in results)
        share = f"{died / len(results):.1%}" if results else "-"
        listed = len(survivors) - len(unlisted)
        print(f"{name:<12}{len(results):>8}{died:>8}{share:>8}   {late}; {listed}, {len(unlisted)}")
        living, killed, whole = living + len(unlisted), killed + died, whole + len(results)
        lines = [f"{m.module}:{m.function} ({verdict})\n  - {m.was}\n  + {m.now}" for m, verdict in unlisted]
        (places[name].build / "living.txt").write_text("\n".join([*lines, ""]))
    print(f"{'all':<12}{whole:>8}{killed:>8}{killed / max(whole, 1):>8.1%}")
    if living:
        found = ", ".join(str(package.build / "living.txt") for package in places.values())
        print(f"{living} mutants live and are not in {MAY_LIVE}: see {found}")
    return not living or killed >= LEAST_SHARE * whole


def main() -> int:
    """Run the mutants; 1 if less than 90 % are killed and a survivor has no reason on the list."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", choices=sorted(packages()), action="append", help="this package")
    parser.add_argument("--match", default="", help="only functions whose module:name contains this")
    parser.add_argument("--sample", type=int, help="how many of the chosen mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, help="how long to judge per package; the next run continues")
    parser.add_argument(
        "--quick", action="store_true", help="a few random modules, judged by the tests that run no service"
    )
    parser.add_argument("--fresh", action="store_true", help="delete all verdicts first")
    chosen = parser.parse_args()
    if chosen.fresh:
        shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    lock = (BUILD / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # NB: two runs would write into the same copies; held until the process ends.
    places = {name: packages()[name] for name in chosen.only or packages()}
    if chosen.quick:
        places = {name: package.quick(chosen.seed) for name, package in places.items()}
    wanted = {name: make_copy(package) for name, package in places.items()}
    wanted = {n: [m for m in ms if chosen.match in f"{m.module}:{m.function}"] for n, ms in wanted.items()}
    if chosen.sample:
        every = sorted((m.key, name) for name, mutants in wanted.items() for m in mutants)
        drawn = set(random.Random(chosen.seed).sample(every, min(chosen.sample, len(every))))
        wanted = {name: [m for m in mutants if (m.key, name) in drawn] for name, mutants in wanted.items()}
    elif chosen.minutes:
        # A part of the time shows a part of everything, not the first modules.
        wanted = {name: random.Random(chosen.seed).sample(mutants, len(mutants)) for name, mutants in wanted.items()}
    judged = {}
    for name, mutants in wanted.items():
        forget_survivors(places[name])
        known = verdicts_of(places[name])
        judge(places[name], [m for m in mutants if m.key not in known], chosen.minutes, chosen.seed)
        known = verdicts_of(places[name])
        judged[name] = [(m, known[m.key]) for m in mutants if m.key in known]
    return 0 if report(places, judged) else 1


if __name__ == "__main__":
    sys.exit(main())
