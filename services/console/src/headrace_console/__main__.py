"""`python -m headrace_console`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are handled before the heavy imports, because one may come at any moment."""
    STOPPING.begin("console")
    from headrace.project.service import main
    from headrace_console.app import build

    return main("console", build)


if __name__ == "__main__":
    raise SystemExit(run())
