"""`python -m headrace_registry`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are heeded before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("registry")
    from headrace.project.service import main
    from headrace_registry.app import build

    return main("registry", build)


if __name__ == "__main__":
    raise SystemExit(run())
