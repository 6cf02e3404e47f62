"""Settings: defaults < `headrace.toml` < `HEADRACE_*` (and Kafka's own `KAFKA_BOOTSTRAP_SERVERS`)."""

import difflib
import math
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from headrace.errors import Misconfigured

DEFAULT_BOOTSTRAP = "127.0.0.1:19092"
_PREFIX = "HEADRACE_"
# Our variables that are no settings: the places of the installation and the file, the duration and seed of our tests,
# whether a missing tool fails them, and where they write pictures.
_NO_SETTINGS = (
    "HEADRACE_HOME",
    "HEADRACE_CONFIG",
    "HEADRACE_FUZZ_SECONDS",
    "HEADRACE_FUZZ_SEED",
    "HEADRACE_SOAK_MINUTES",
    "HEADRACE_MUTANT",
    "HEADRACE_CI",
    "HEADRACE_SCREENSHOTS",
)
_MOST_LISTED = 5


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a process.

    - `namespace`: the prefix of every topic, group and transactional id.
    - `http_port`: health and metrics, 0 for any free port. `http_port_base`: under `headrace up` the services'
      `http_port` count up from here (pipeline first), 0 for any free ones.
    - `partitions_*`: the knobs of topics.yaml. `replication_factor`: of new topics.
    - `connect_timeout_s`: how long a start waits for the broker.
    - `online_store`: where inference keeps feature tiles. `model_memory_bytes`: the estimated memory of its loaded
      versions.
    - `api_keys_file`, `api_keys`: who may use the gateway, a TOML file or `name=key,name=key` (`none` for anyone,
      explicitly).
    - `trusted_header`: the header in which a proxy names the person who acts (`X-Forwarded-User`, say).
      `trusted_roles`: their roles, `anna=operator,bob=approver,*=viewer`. `trusted_proxies`: addresses or networks from
      which the header is believed; this machine when not given.
    - `allowed_projects`: what pipeline and trainer may import: names of entry points, references or folders,
      comma-separated. Without it, the installed entry points and what `applied_file` lists.
    - `gateway_body_bytes`: the limit of one HTTP body, uncompressed. `gateway_connections`: the limit of open
      connections. `console_port`: of the page, 0 for any free port.
    - `console_hosts`: the names (`Host`) by which the console is called, besides localhost, comma-separated. On loopback
      others are refused; on another address any name is taken while none is given.
    - `runbook_url`: where the folder `docs/runbooks` can be read, for links of alerts and of the console; "" gives paths.
    - Who is sent alerts, by `headrace alert forward`: `alertmanager_url`, addresses of Alertmanagers, comma-separated;
      `alert_webhook_url`, for the payload of Alertmanager's webhooks; `alert_slack_url`, a webhook of Slack's shape;
      `alert_watchdog_url`, a dead man's switch, for the dead-man record alone. `alertmanager_authorization` and
      `alert_webhook_authorization` are sent as the header `Authorization`.
    - `runs_folder`: the folder of training runs ("" for the installation's home, else the temporary folder).
    - `training_memory_bytes`, `training_cpu_s`, `training_idle_s`: limits of one run; idle means neither computing nor
      reading although it has a core. `training_alone_s`: a run that no trainer watches ends after this.
      `trainings_at_once`: others wait.
    - `spill_folder`: where the monitor's file of rows that wait for late labels lies ("" for the installation's home,
      else the temporary folder). It must not lie in memory (tmpfs).
    - `decision_index_bytes`: the limit of the index of decisions (console, CLI); beyond it the oldest are left out.
    """

    bootstrap_servers: str = DEFAULT_BOOTSTRAP
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = ""
    ssl_cafile: str = ""
    namespace: str = ""
    instance: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = 0
    http_port_base: int = 19_101
    gateway_port: int = 8080
    gateway_body_bytes: int = 65_536
    gateway_connections: int = 1_000
    console_port: int = 8090
    console_hosts: str = ""
    runbook_url: str = ""
    alertmanager_url: str = ""
    alertmanager_authorization: str = ""
    alert_webhook_url: str = ""
    alert_webhook_authorization: str = ""
    alert_slack_url: str = ""
    alert_watchdog_url: str = ""
    api_keys_file: str = ""
    api_keys: str = ""
    trusted_header: str = ""
    trusted_roles: str = ""
    trusted_proxies: str = ""
    log_level: str = "INFO"
    connect_timeout_s: float = 60.0
    replication_factor: int = 1
    partitions_requests: int = 2
    partitions_replies: int = 8
    watchdog_s: float = 60.0
    online_store: Literal["memory", "disk"] = "memory"
    model_memory_bytes: int = 2 * 1024**3
    runs_folder: str = ""
    training_memory_bytes: int = 4 * 1024**3
    training_cpu_s: float = 14_400.0
    training_idle_s: float = 1_800.0
    training_alone_s: float = 600.0
    trainings_at_once: int = 2
    allowed_projects: str = ""
    applied_file: str = ""
    spill_folder: str = ""
    decision_index_bytes: int = 256 * 1024**2

    @staticmethod
    def load(environ: Mapping[str, str] | None = None, file: Path | None = None) -> "Settings":
        """Read defaults, then the file, then the environment. Raises `Misconfigured`, which names the setting and its
        origin.
        """
        return msgspec.convert({name: value for name, (value, _) in origins(environ, file).items()}, Settings)

    def instance_id(self, service: str) -> str:
        """The name of this instance: the setting, or host and process id."""
        return self.instance or f"{service}-{socket.gethostname()}-{os.getpid()}"


def strangers(environ: Mapping[str, str] | None = None) -> str | None:
    """A sentence on variables that look like settings and are none, without their values; None when there are none.

    They are not refused as in the file, since an orchestrator may set such variables (Kubernetes does, for a service's
    name).

    >>> strangers({"HEADRACE_NAMESPCE": "x", "HEADRACE_HOME": "/h"})
    'no setting is called HEADRACE_NAMESPCE (HEADRACE_NAMESPACE?): it is ignored; see `headrace config show`'
    """
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.__struct_fields__]
    unknown = sorted(
        name
        for name in (os.environ if environ is None else environ)
        if name.startswith(_PREFIX) and name.upper() not in known and name not in _NO_SETTINGS
    )
    if not unknown:
        return None
    close = {name: difflib.get_close_matches(name.upper()[:100], known, 1) for name in unknown[:_MOST_LISTED]}
    listed = [f"{name[:100]} ({found[0]}?)" if found else name[:100] for name, found in close.items()]
    more = len(unknown) - len(listed)
    listed += [f"{more} more"] if more else []
    ignored = "it is ignored" if len(unknown) == 1 else "they are ignored"
    return f"no setting is called {', '.join(listed)}: {ignored}; see `headrace config show`"


def environ_of(settings: Settings) -> dict[str, str]:
    """The variables by which another process loads the same settings."""
    return {f"{_PREFIX}{name.upper()}": str(value) for name, value in msgspec.structs.asdict(settings).items()}


def origins(environ: Mapping[str, str] | None = None, file: Path | None = None) -> dict[str, tuple[Any, str]]:
    """Every setting with its value and origin: `default`, the file's name, or the variable's name."""
    environ = os.environ if environ is None else environ
    path = file or Path(environ.get("HEADRACE_CONFIG", "headrace.toml"))
    values: dict[str, tuple[Any, str]] = {f.name: (f.default, "default") for f in msgspec.structs.fields(Settings)}
    values |= {name: (value, str(path)) for name, value in _read_file(path).items()}
    values |= _read_environ(environ)
    return {name: (_checked(name, value, where), where) for name, (value, where) in values.items()}


def _read_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None


def _read_environ(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    names = {f.name for f in msgspec.structs.fields(Settings)}
    found: dict[str, tuple[Any, str]] = {}
    if environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        found["bootstrap_servers"] = (environ["KAFKA_BOOTSTRAP_SERVERS"], "KAFKA_BOOTSTRAP_SERVERS")
    for variable, value in environ.items():
        name = variable.removeprefix(_PREFIX).lower()
        if variable.startswith(_PREFIX) and name in names:
            found[name] = (value, variable)
    return found


def _checked(name: str, value: Any, where: str) -> Any:
    types = {f.name: f.type for f in msgspec.structs.fields(Settings)}
    if name not in types:
        raise Misconfigured(f"{where}: no setting is called {name!r}; see `headrace config show`")
    try:
        found = msgspec.convert(value, types[name], strict=False)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{where}: {name} {error}, got {value!r}") from None
    if (expected := _not_as(name, found)) is not None:
        shown = "another text (a secret, not shown)" if name in SECRETS else repr(value)
        raise Misconfigured(f"{where}: {name} must be {expected}, got {shown}")
    return found


_CHOICES = {
    "security_protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "sasl_mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}
_AT_LEAST_ONE = ("replication_factor", "partitions_requests", "partitions_replies", "trainings_at_once")
_PORTS = ("http_port", "http_port_base", "gateway_port", "console_port")
_HIGHEST_PORT = 65_535
_URLS = ("runbook_url", "alertmanager_url", "alert_webhook_url", "alert_slack_url", "alert_watchdog_url")
# Never shown: passwords, keys, and addresses that whoever knows them may post to.
SECRETS = (
    "sasl_password", "api_keys", "alertmanager_url", "alertmanager_authorization", "alert_webhook_url",
    "alert_webhook_authorization", "alert_slack_url", "alert_watchdog_url",
)  # fmt: skip
# It leaves room for a name of a hundred characters, and what surrounds it, in the 249 of a topic's name.
_NAMESPACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,99})?").fullmatch


def is_web_address(text: str) -> bool:
    """Whether it is the address of something on the web, with a host.

    >>> [is_web_address(text) for text in ("https://h/p", "http://h:9093", "h:9093", "https://", "http://h:x", "ftp://h")]
    [True, True, False, False, False, False]
    """
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0 and text.isprintable()
        )
    except ValueError:
        return False


def _not_as(name: str, value: Any) -> str | None:
    """What a value of the right type should have been; None when it is valid."""
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"one of {', '.join(_CHOICES[name])}"
    if name in _PORTS and not 0 <= value <= _HIGHEST_PORT:
        return f"0 to {_HIGHEST_PORT}"
    several = name == "alertmanager_url"
    if (
        name in _URLS
        and value
        and not all(map(is_web_address, map(str.strip, value.split(",") if several else [value])))
    ):
        return f"{'addresses, comma-separated,' if several else 'an address'} such as https://host/path"
    if name == "namespace" and not _NAMESPACE(value):
        return "at most 100 letters (a-z), digits, `_`, `.` or `-` (or empty), and begin with a letter or a digit"
    if name in _AT_LEAST_ONE and value < 1:
        return "1 or more"
    if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
        return "a finite number, 0 or more"
    return None
