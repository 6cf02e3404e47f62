"""`python -m headrace_inference`."""

import os

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are heeded before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("inference")
    # NB: before numpy and scikit-learn are imported: with more threads, one row's p99 is hundreds of times its median.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from headrace.project.service import main
    from headrace_inference.app import build

    return main("inference", build)


if __name__ == "__main__":
    raise SystemExit(run())
