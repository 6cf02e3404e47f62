"""`python -m headrace_pipeline`."""

from headrace.bus.runtime import main
from headrace_pipeline.app import build

if __name__ == "__main__":
    raise SystemExit(main("pipeline", build))
