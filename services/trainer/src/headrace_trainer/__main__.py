"""`python -m headrace_trainer`."""

from headrace.bus.runtime import main
from headrace_trainer.app import build

if __name__ == "__main__":
    raise SystemExit(main("trainer", build))
