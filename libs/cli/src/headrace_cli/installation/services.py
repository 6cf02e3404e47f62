"""The services of an installation: their names, health ports and start commands."""

import os
import socket
import sys
from pathlib import Path

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_broker import free_port, holder
from headrace_cli.installation.children import Child

SERVICES = ("pipeline", "feature", "inference", "gateway", "registry", "monitor", "trainer")


def ports_of(settings: Settings, *, anywhere: bool) -> dict[str, int]:
    """The health port of each service; `anywhere`: any free one. Raises `Misconfigured` for a port in use, also the gateway's."""
    base = settings.http_port_base
    if not anywhere and settings.gateway_port:
        _refuse_used(settings.http_host, settings.gateway_port, "the gateway", "HEADRACE_GATEWAY_PORT")
    if anywhere or base == 0:
        return {name: free_port() for name in SERVICES}
    ports = {name: base + number for number, name in enumerate(SERVICES)}
    for name, port in ports.items():
        _refuse_used(settings.http_host, port, f"the health of {name}", "HEADRACE_HTTP_PORT_BASE")
    return ports


def child_of(name: str, home: Path, bootstrap: str, port: int, *, anywhere: bool) -> Child:
    """The process of a service in `home`, not started. `anywhere`: the gateway on any free port."""
    environ = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "HEADRACE_INSTANCE": f"{name}-1",
        "HEADRACE_HTTP_PORT": str(port),
        "HEADRACE_APPLIED_FILE": os.environ.get("HEADRACE_APPLIED_FILE", str(home / "applied.json")),
        "OMP_NUM_THREADS": "1",
        "HEADRACE_RUNS_FOLDER": os.environ.get("HEADRACE_RUNS_FOLDER", str(home / "runs")),
    }
    if anywhere:
        environ.setdefault("HEADRACE_GATEWAY_PORT", "0")
    # NB: -P: a file in the folder of `up` (queue.py) must not replace a module of that name in a service.
    command = [sys.executable, "-P", "-m", f"headrace_{name}"]
    return Child(name, command, home / "logs" / f"{name}.log", environ, http_port=port)


def _refuse_used(host: str, port: int, what: str, setting: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise Misconfigured(
                f"port {port}, for {what}, is in use{holder(port)}: stop that process, or set {setting} to another port"
            ) from None
