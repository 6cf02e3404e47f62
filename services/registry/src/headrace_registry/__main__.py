"""`python -m headrace_registry`."""

from headrace.bus.runtime import main
from headrace_registry.app import build

if __name__ == "__main__":
    raise SystemExit(main("registry", build))
