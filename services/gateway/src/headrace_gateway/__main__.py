"""`python -m headrace_gateway`"""

from headrace.bus.runtime import main
from headrace_gateway.app import build

raise SystemExit(main("gateway", build))
