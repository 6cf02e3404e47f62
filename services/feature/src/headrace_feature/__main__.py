"""`python -m headrace_feature`."""

from headrace.bus.runtime import main
from headrace_feature.app import build

if __name__ == "__main__":
    raise SystemExit(main("feature", build))
