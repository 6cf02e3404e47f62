"""`python -m headrace_feature`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are heeded before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("feature")
    from headrace.project.service import main
    from headrace_feature.app import build

    return main("feature", build)


if __name__ == "__main__":
    raise SystemExit(run())
