"""`python -m headrace_trainer`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """Run the service; returns the exit code. Signals are handled before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("trainer")
    from headrace.project.service import main
    from headrace_trainer.app import build

    return main("trainer", build)


if __name__ == "__main__":
    raise SystemExit(run())
