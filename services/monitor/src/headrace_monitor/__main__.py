"""`python -m headrace_monitor`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are heeded before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("monitor")
    from headrace.project.service import main
    from headrace_monitor.app import build

    return main("monitor", build)


if __name__ == "__main__":
    raise SystemExit(run())
