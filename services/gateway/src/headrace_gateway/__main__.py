"""`python -m headrace_gateway`"""

import uvloop

from headrace.bus.runtime import main
from headrace_gateway.app import build

raise SystemExit(main("gateway", build, uvloop.new_event_loop))
