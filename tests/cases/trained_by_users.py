"""`build` functions of users, imported by training runs only. Each has its deployment in `project`."""

import ctypes
import os
import sys
import threading
import time
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from headrace.project import Binary, Deployment, Number, Project, Training


def plain(signature: Any) -> Any:
    return LogisticRegression()


class Slow(LogisticRegression):
    """Fits while a file exists, and records each beginning."""

    def fit(self, x: Any, y: Any) -> Any:
        folder = os.environ["SLOW_FOLDER"]
        with open(f"{folder}/fits", "a") as fits:
            fits.write(f"{os.getpid()}\n")
        while os.path.exists(f"{folder}/hold"):
            sum(range(100_000))
            time.sleep(0.02)
        return super().fit(x, y)

    def __sklearn_tags__(self) -> Any:
        return super().__sklearn_tags__()


def slow(signature: Any) -> Any:
    return Slow() if os.path.exists(f"{os.environ['SLOW_FOLDER']}/hold") else LogisticRegression()


def raises(signature: Any) -> Any:
    raise RuntimeError("no such luck\n" * 100_000)


def stops(signature: Any) -> Any:
    raise StopIteration


def returns_a_dict(signature: Any) -> Any:
    return {}


def calls_exit(signature: Any) -> Any:
    sys.exit(3)


def leaves(signature: Any) -> Any:
    os._exit(0)


def spins(signature: Any) -> Any:
    while True:
        pass


def hangs(signature: Any) -> Any:
    threading.Event().wait()


def allocates(signature: Any) -> Any:
    return [np.ones(50_000_000) for _ in range(1000)]


def segfaults(signature: Any) -> Any:
    ctypes.string_at(0)


def kills_itself(signature: Any) -> Any:
    os.kill(os.getpid(), 9)


def prints(signature: Any) -> Any:
    for _ in range(100_000):
        print("x" * 200)
    return LogisticRegression()


def forks(signature: Any) -> Any:
    os.fork()
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    return LogisticRegression()


BUILDS = (
    plain, slow, raises, stops, returns_a_dict, calls_exit, leaves, spins, hangs, allocates, segfaults, kills_itself,
    prints, forks,
)  # fmt: skip


def _deployment(build: Any) -> Deployment:
    return Deployment(
        f"by-{build.__name__.replace('_', '-')}",
        "thing",
        [Number("x")],
        label=Binary("yes", "1d"),
        training=Training(build, history="60d", holdout="10d", embargo="1d", first_after="1d", min_rows=100),
    )


project = Project("trained", [_deployment(build) for build in BUILDS])
