"""`python -m headrace_console`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """Run the service; returns the exit code. Signals are handled before the heavy imports: one may come at any moment."""
    STOPPING.begin("console")
    import uvloop

    from headrace.project.service import main
    from headrace_console.app import build

    return main("console", build, uvloop.new_event_loop)


if __name__ == "__main__":
    raise SystemExit(run())
