"""`python -m headrace_monitor`."""

from headrace.bus.runtime import main
from headrace_monitor.app import build

if __name__ == "__main__":
    raise SystemExit(main("monitor", build))
