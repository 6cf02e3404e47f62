"""`python -m headrace_gateway`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """Run the service; returns the exit code. Signals are handled before anything heavy is imported: one may come at any moment."""
    STOPPING.begin("gateway")
    import uvloop

    from headrace.project.service import main
    from headrace_gateway.app import build

    return main("gateway", build, uvloop.new_event_loop)


if __name__ == "__main__":
    raise SystemExit(run())
