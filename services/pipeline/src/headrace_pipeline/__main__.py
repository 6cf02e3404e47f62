"""`python -m headrace_pipeline`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are heeded before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("pipeline")
    from headrace.project.service import main
    from headrace_pipeline.app import build

    return main("pipeline", build)


if __name__ == "__main__":
    raise SystemExit(run())
