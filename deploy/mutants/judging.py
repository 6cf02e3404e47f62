"""Judges the mutants of one package, in a process of its own that imports the mutated copy: `python -m deploy.mutants.judging NAME [SEED]`
(the seed of a quick run).

1. The package's tests are collected once, and run once in a fork with no mutant on: which mutated functions each test calls,
   and how long it takes. A file of tests runs again where it, or the code, has changed.
2. Per mutant a fork runs the tests that call its function, quickest first, until one fails. The parent has imported and
   collected everything and run nothing, so that a fork costs a fraction of a second and inherits no thread.

A test judges no mutant if it fails without one, or takes longer than `LONGEST_TEST_S`; a mutant is judged by at most
`TESTS_S` seconds of tests. Both can only let a mutant live that a test would have killed.
"""

import contextlib
import doctest
import gc
import importlib
import inspect
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from deploy.mutants.places import Package, digest_of, packages
from deploy.mutants.switch import Switch, turn_on

LONGEST_TEST_S = 3.0
TESTS_S = 10.0
IDLE_S = 15.0
PRINT_EACH_S = 20.0
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
VERDICTS = {0: "survived", 1: "killed"}


class _Watch:
    """A pytest plugin that notes what each test called, how long it took, and whether it passed."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    def begin(self, nodeid: str) -> None:
        """The next test."""
        Switch.hits = set()
        self.tests[nodeid] = {"seconds": 0.0, "passed": True, "calls": []}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests[report.nodeid]
        test["seconds"] += report.duration
        test["passed"] &= not report.failed
        test["calls"] = sorted(Switch.hits or ())


class Judge:
    """A pytest plugin that judges mutants where pytest would run the tests."""

    def __init__(self, package: Package, plan: dict[str, Any]) -> None:
        self.package, self.plan = package, plan
        self._watch = _Watch()
        self._items: dict[str, pytest.Item] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running what was collected."""
        session.config.pluginmanager.register(self._watch)
        session.config.pluginmanager.unregister(name="terminalreporter")
        self._items = {item.nodeid: item for item in session.items if not (self.package.part and runs_a_service(item))}
        tests = self._watched()
        failing = sorted(name for name, test in tests.items() if not test["passed"])
        if failing:
            print(f"{self.package.name}: {len(failing)} tests fail without a mutant and judge nothing: {failing[:5]}")
        self._judge_all(tests)
        return True

    def _run(self, ids: Sequence[str], *, stop: bool) -> bool:
        """Run tests in this process; a module's name stands for the examples in its docstrings. Whether all passed."""
        for ident, following in zip(ids, [*ids[1:], ""], strict=True):
            self._watch.begin(ident)
            if ident in self._items:
                item, after = self._items[ident], self._items.get(following)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            else:
                began = time.monotonic()
                test = self._watch.tests[ident]
                test |= {"passed": _examples_hold(ident), "calls": sorted(Switch.hits or ())}
                test["seconds"] = time.monotonic() - began
            if stop and not self._watch.tests[ident]["passed"]:
                return False
        return True

    def _watched(self) -> dict[str, dict[str, Any]]:
        """What each test of the package calls."""
        kept, code = self.package.build / "tests.json", self.package.digest_of_code()
        known = json.loads(kept.read_text()) if kept.exists() else {}
        found = {name: file for name, file in known.get("files", {}).items() if known["code"] == code}
        digests = {str(path): digest_of([path]) for path in self.package.tests()}
        files = {name: found[name] for name in digests if found.get(name, {}).get("digest") == digests[name]}
        new = [name for name in digests if name not in files]

        def work() -> int:
            modules = [module for module in map(self.package.module_of, self.package.files()) if _examples_of(module)]
            self._run([*(i for i in self._items if i.partition("::")[0] in new), *modules], stop=False)
            for name in new:
                mine = {i: test for i, test in self._watch.tests.items() if i.startswith(f"{name}::")}
                files[name] = {"digest": digests[name], "tests": mine}
            files["examples"] = {"digest": "", "tests": {module: self._watch.tests[module] for module in modules}}
            kept.write_text(json.dumps({"code": code, "files": files}))
            return 0

        log = self.package.build / "tests.log"
        if fork(work, log=str(log)) != 0:
            raise SystemExit(f"{self.package.name}: the tests could not be run without a mutant, see {log}")
        files = json.loads(kept.read_text())["files"]
        found = {ident: test for file in files.values() for ident, test in file["tests"].items()}
        return {ident: test for ident, test in found.items() if ident in self._items or ".py" not in ident}

    def _judge_all(self, tests: dict[str, dict[str, Any]]) -> None:
        mutants, minutes = self.plan["mutants"], self.plan["minutes"]
        by_function = judges(tests)
        seconds = {function: sum(tests[i]["seconds"] for i in ids) for function, ids in by_function.items()}
        if not minutes:
            mutants = sorted(mutants, key=lambda m: seconds.get(m["called"], 0.0))
        gc.collect()
        gc.freeze()
        began = printed = time.monotonic()
        counts: dict[str, int] = {}
        with (self.package.build / "verdicts.jsonl").open("a") as out:
            for done, mutant in enumerate(mutants, start=1):
                ids = by_function.get(mutant["called"], [])
                verdict = self._verdict(mutant, ids, seconds.get(mutant["called"], 0.0))
                out.write(json.dumps({"key": mutant["key"], "verdict": verdict}) + "\n")
                out.flush()
                counts[verdict] = counts.get(verdict, 0) + 1
                now = time.monotonic()
                if now - printed > PRINT_EACH_S or done == len(mutants):
                    printed, left_s = now, (now - began) / done * (len(mutants) - done)
                    shares = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
                    print(
                        f"{self.package.name}: {done} of {len(mutants)} ({shares}), {left_s / 60:.0f} min left",
                        flush=True,
                    )
                if minutes and now - began > 60 * minutes:
                    print(f"{self.package.name}: the time is used up; the next run continues from here")
                    break

    def _verdict(self, mutant: dict[str, str], ids: list[str], seconds: float) -> str:
        """Killed, survived, timeout (counted as killed), no test, or an error of ours."""
        if not ids:
            return "no test"

        def work() -> int:
            turn_on(f"{mutant['module']}:{mutant['name']}")
            return 0 if self._run(ids, stop=True) else 1

        code = fork(work, limit_s=20 + 10 * seconds)
        return "timeout" if code is None else VERDICTS.get(code, f"error {code}")


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


def runs_a_service(item: pytest.Item) -> bool:
    """Whether a test takes its time because it runs a service on a log: it is a coroutine then."""
    return inspect.iscoroutinefunction(getattr(item, "obj", None))


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


def main() -> int:
    """Judge the mutants of the package's `plan.json`, and add a line to `verdicts.jsonl` for each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    name, *seed = sys.argv[1:]
    package = packages()[name].quick(int(seed[0])) if seed else packages()[name]
    plan = json.loads((package.build / "plan.json").read_text())
    for name in {mutant["module"] for mutant in plan["mutants"]}:
        place = importlib.import_module(name).__file__ or ""
        if not Path(place).resolve().is_relative_to(package.build.resolve()):
            raise SystemExit(f"{name} is imported from {place}, not from its mutated copy in {package.build}")
    for mutant in plan["mutants"]:
        mutant["called"] = f"{mutant['module']}:{mutant['function']}"
    arguments = [*PYTEST, f"--basetemp={package.build / 'tmp'}", *map(str, package.tests())]
    code = pytest.main(arguments, plugins=[Judge(package, plan)])
    return 0 if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) else 1


if __name__ == "__main__":
    sys.exit(main())
