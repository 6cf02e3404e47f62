"""Judges the mutants of one package, in a process of its own that imports the mutated copy: `python -m deploy.mutants.judging NAME`.

1. The package's tests run once, with no mutant on: which mutated functions each test calls, and how long it takes.
2. Per mutant a fork of this process runs the tests that call its function, quickest first, until one fails. The parent has
   imported everything and run nothing, so that a fork costs a fraction of a second and inherits no thread.

A test judges no mutant if it fails without one, or takes longer than `LONGEST_TEST_S`; a mutant is judged by at most
`TESTS_S` seconds of tests. Both can only let a mutant live that a test would have killed.
"""

import contextlib
import doctest
import functools
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.mutants.places import Package, digest_of, packages
from deploy.mutants.switch import Switch, turn_on

LONGEST_TEST_S = 5.0
TESTS_S = 30.0
IDLE_S = 15.0
SAY_EACH_S = 20.0
PYTEST = [
    "-q",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
    "-p",
    "no:cacheprovider",
    "--hypothesis-seed=0",
    "-m",
    "not kafka and not slow and not faults",
]
VERDICTS = {0: "survived", 1: "killed", 2: "killed", 3: "killed"}


class _Watch:
    """A pytest plugin that notes what each test called, how long it took, and whether it passed."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        Switch.hits = set()
        self.tests[nodeid] = {"seconds": 0.0, "passed": False, "calls": []}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests[report.nodeid]
        test["seconds"] += report.duration
        if report.when == "call":
            test["passed"] = report.passed
        elif report.failed:
            test["passed"] = False
        if report.when == "teardown":
            test["calls"] = sorted(Switch.hits or ())


def _examples_of(name: str) -> list[doctest.DocTest]:
    """The examples of a mutated module, each once though its docstring is copied into every mutant."""
    module = importlib.import_module(name)
    found: dict[str, doctest.DocTest] = {}
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        if test.examples:
            found.setdefault(test.docstring or "", test)
    return list(found.values())


def _examples_hold(module: str) -> bool:
    runner = doctest.DocTestRunner(verbose=False)
    for test in _examples_of(module):
        runner.run(test, out=lambda _: None)
    return not runner.failures


def run_tests(package: Package, ids: Iterable[str], *options: str, plugins: Iterable[object] = ()) -> int:
    """Run tests in this process: pytest's exit code. `ids`: node ids or files of pytest."""
    return int(pytest.main([*PYTEST, f"--basetemp={package.build / 'tmp'}", *options, *ids], plugins=list(plugins)))


def _judged(package: Package, mutant: str, ids: list[str]) -> int:
    """With a mutant on: 0 when all of `ids` pass. A module's name stands for the examples in its docstrings."""
    turn_on(mutant)
    if not all(_examples_hold(module) for module in ids if ".py" not in module):
        return 1
    tests = [i for i in ids if ".py" in i]
    return run_tests(package, tests, "-x") if tests else 0


def fork(work: Callable[[], int], limit_s: float | None = None, log: str = os.devnull) -> int | None:
    """Run `work` in a child and return what it returned; None when it used up `limit_s` of CPU, or did nothing for `IDLE_S`.

    NB: not a limit by the clock alone: on a busy machine slow is not hung.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            if limit_s is not None:
                used = time.process_time()
                resource.setrlimit(resource.RLIMIT_CPU, (int(used + limit_s) + 1, int(used + limit_s) + 3))
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    pause_s, cpu_s, worked_at = 0.005, 0.0, time.monotonic()
    try:
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if limit_s is not None and (now_s := _cpu_s(pid)) != cpu_s:
                cpu_s, worked_at = now_s, time.monotonic()
            if limit_s is not None and time.monotonic() - worked_at > IDLE_S:
                return None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, 0.1)
        return os.WEXITSTATUS(ended[1]) if os.WIFEXITED(ended[1]) else None
    finally:
        # The child where it is not done, or was interrupted with us, and what its tests have left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def watched(package: Package) -> dict[str, dict[str, Any]]:
    """What each test of the package calls; a file of tests runs again where it, or the code, has changed."""
    kept, code = package.build / "tests.json", package.digest_of_code()
    known = json.loads(kept.read_text()) if kept.exists() else {}
    digests = {str(path): digest_of([path]) for path in package.tests()}
    files = {name: known["files"][name] for name in digests if name in known.get("files", {})}
    files = {n: file for n, file in files.items() if known["code"] == code and file["digest"] == digests[n]}
    new = [name for name in digests if name not in files]

    def work() -> int:
        watch = _Watch()
        if new:
            run_tests(package, new, plugins=[watch])
        for name in new:
            mine = {ident: test for ident, test in watch.tests.items() if ident.startswith(f"{name}::")}
            files[name] = {"digest": digests[name], "tests": mine}
        examples = {}
        for module in map(package.module_of, package.files()):
            if _examples_of(module):
                Switch.hits, began = set(), time.monotonic()
                held = _examples_hold(module)
                seconds = time.monotonic() - began
                examples[module] = {"seconds": seconds, "passed": held, "calls": sorted(Switch.hits)}
        files["examples"] = {"digest": "", "tests": examples}
        kept.write_text(json.dumps({"code": code, "files": files}))
        return 0

    log = package.build / "tests.log"
    if fork(work, log=str(log)) != 0:
        raise SystemExit(f"{package.name}: the tests could not be run without a mutant, see {log}")
    return {
        name: test for file in json.loads(kept.read_text())["files"].values() for name, test in file["tests"].items()
    }


def judges(tests: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Per mutated function the tests that judge it, quickest first."""
    found: dict[str, list[str]] = {}
    spent: dict[str, float] = {}
    for name, test in sorted(tests.items(), key=lambda item: item[1]["seconds"]):
        if not test["passed"] or test["seconds"] > LONGEST_TEST_S:
            continue
        for function in test["calls"]:
            if spent.get(function, 0.0) + test["seconds"] <= TESTS_S:
                found.setdefault(function, []).append(name)
                spent[function] = spent.get(function, 0.0) + test["seconds"]
    return found


def verdicts(
    package: Package, mutants: list[dict[str, str]], tests: dict[str, dict[str, Any]], *, quickest_first: bool
) -> Iterator[dict[str, Any]]:
    """One verdict per mutant: killed, survived, timeout (counted as killed) or no test."""
    by_function = judges(tests)
    seconds = {function: sum(tests[i]["seconds"] for i in ids) for function, ids in by_function.items()}
    if quickest_first:
        mutants = sorted(mutants, key=lambda m: seconds.get(f"{m['module']}:{m['function']}", 0.0))
    for mutant in mutants:
        ids = by_function.get(f"{mutant['module']}:{mutant['function']}", [])
        began = time.monotonic()
        verdict = "no test"
        if ids:
            switch = f"{mutant['module']}:{mutant['name']}"
            work = functools.partial(_judged, package, switch, ids)
            code = fork(work, limit_s=20 + 10 * seconds[f"{mutant['module']}:{mutant['function']}"])
            verdict = "timeout" if code is None else VERDICTS.get(code, f"error {code}")
        yield {"key": mutant["key"], "verdict": verdict, "seconds": round(time.monotonic() - began, 2)}


def main() -> int:
    """Judge the mutants whose keys stand in the package's `plan.json`, and add a line to `verdicts.jsonl` for each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    package = packages()[sys.argv[1]]
    plan = json.loads((package.build / "plan.json").read_text())
    for name in {mutant["module"] for mutant in plan["mutants"]}:
        place = importlib.import_module(name).__file__ or ""
        if not Path(place).resolve().is_relative_to(package.build.resolve()):
            raise SystemExit(f"{name} is imported from {place}, not from its mutated copy in {package.build}")
    tests = watched(package)
    failing = sorted(name for name, test in tests.items() if not test["passed"])
    if failing:
        print(f"{package.name}: {len(failing)} tests fail without a mutant and judge nothing: {failing[:5]}")
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        run_tests(package, map(str, package.tests()), "--collect-only")
    gc.collect()
    gc.freeze()
    began, said, counts = time.monotonic(), time.monotonic(), dict[str, int]()
    with (package.build / "verdicts.jsonl").open("a") as out:
        for done, verdict in enumerate(
            verdicts(package, plan["mutants"], tests, quickest_first=not plan["until"]), start=1
        ):
            out.write(json.dumps(verdict) + "\n")
            out.flush()
            counts[verdict["verdict"]] = counts.get(verdict["verdict"], 0) + 1
            now, whole = time.monotonic(), len(plan["mutants"])
            if now - said > SAY_EACH_S or done == whole:
                said, left_s = now, (now - began) / done * (whole - done)
                said_counts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
                print(
                    f"{package.name}: {done} of {whole} ({said_counts}), about {left_s / 60:.0f} min left", flush=True
                )
            if plan["until"] and time.time() > plan["until"]:
                print(f"{package.name}: the time given is used up; the next run goes on from here")
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
