"""`python -m headrace_feature`."""

from headrace.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are heeded before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("feature")
    from headrace.bus.runtime import main
    from headrace_feature.app import build

    return main("feature", build)


if __name__ == "__main__":
    raise SystemExit(run())
