"""The services of an installation: their names, health ports and start commands."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_broker import free_port, holder
from headrace_cli.forwarding.receivers import receivers_of
from headrace_cli.installation.children import Child

SERVICES = ("pipeline", "feature", "inference", "gateway", "registry", "monitor", "trainer", "console")
# Where a receiver of alerts is set.
FORWARDER = "forwarder"


def processes_of(settings: Settings) -> tuple[str, ...]:
    """What an installation with these settings runs: the services, and what forwards alerts where a receiver is set."""
    return (*SERVICES, FORWARDER) if receivers_of(settings) else SERVICES


def ports_of(settings: Settings, *, anywhere: bool) -> dict[str, int]:
    """The health port of each service; `anywhere`: any free one. Raises `Misconfigured` for a port in use, also the gateway's and the console's."""
    base = settings.http_port_base
    if not anywhere and settings.gateway_port:
        _refuse_used(settings.http_host, settings.gateway_port, "the gateway", "HEADRACE_GATEWAY_PORT")
    if not anywhere and settings.console_port:
        _refuse_used(settings.http_host, settings.console_port, "the console", "HEADRACE_CONSOLE_PORT")
    if anywhere or base == 0:
        return {name: free_port() for name in processes_of(settings)}
    ports = {name: base + number for number, name in enumerate(processes_of(settings))}
    for name, port in ports.items():
        _refuse_used(settings.http_host, port, f"the health of {name}", "HEADRACE_HTTP_PORT_BASE")
    return ports


def console_address(settings: Settings, state: Mapping[str, Any]) -> str:
    """Where the page of an installation is served, by the supervisor's state; "" where no console is started."""
    port = state.get("services", {}).get("console", {}).get("page_port", 0)
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return f"http://{host}:{port}" if port else ""


def child_of(name: str, home: Path, bootstrap: str, port: int, settings: Settings, *, anywhere: bool) -> Child:
    """The process of a service in `home`, not started. `anywhere`: gateway and console on any free port."""
    environ = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "HEADRACE_INSTANCE": f"{name}-1",
        "HEADRACE_HTTP_PORT": str(port),
        "HEADRACE_HOME": str(home),
        "HEADRACE_APPLIED_FILE": os.environ.get("HEADRACE_APPLIED_FILE", str(home / "applied.json")),
        "OMP_NUM_THREADS": "1",
        "HEADRACE_RUNS_FOLDER": os.environ.get("HEADRACE_RUNS_FOLDER", str(home / "runs")),
    }
    if anywhere:
        environ.setdefault("HEADRACE_GATEWAY_PORT", "0")
    page_port = 0
    if name == "console":
        # NB: chosen here, so that its address can be told before it has started.
        is_any = settings.console_port == 0 or (anywhere and "HEADRACE_CONSOLE_PORT" not in os.environ)
        page_port = free_port() if is_any else settings.console_port
        environ["HEADRACE_CONSOLE_PORT"] = str(page_port)
    # NB: -P: a file in the folder of `up` (queue.py) must not replace a module of that name in a service.
    module = "headrace_cli.forwarding" if name == FORWARDER else f"headrace_{name}"
    command = [sys.executable, "-P", "-m", module]
    return Child(name, command, home / "logs" / f"{name}.log", environ, http_port=port, page_port=page_port)


def _refuse_used(host: str, port: int, what: str, setting: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise Misconfigured(
                f"port {port}, for {what}, is in use{holder(port)}: stop that process, or set {setting} to another port"
            ) from None
