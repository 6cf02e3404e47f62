"""The files for deployment: who can reach the services, and that their parts agree with the code."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.hosting.catalogue import CATALOGUE
from headrace.hosting.settings import Settings
from headrace_broker.config import LONGEST_TRANSACTION_MS, write_config
from headrace_cli.installation.services import processes_of

ROOT = Path(__file__).parents[2]


def _read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_compose_opens_no_port_to_other_machines() -> None:
    ports = [
        (name, port)
        for name, found in _read("docker-compose.yml")["services"].items()
        for port in found.get("ports", [])
    ]
    assert {name for name, _ in ports} >= {"broker", "gateway"}
    for name, port in ports:
        address = str(port).split(":")[0]
        assert str(port).count(":") == 2, f"{name}: {port} is bound to every address"
        assert ipaddress.ip_address(address).is_loopback, f"{name}: {port}"


def test_every_broker_that_we_start_bounds_the_transactions_of_strangers(tmp_path: Path) -> None:
    broker = _read("docker-compose.yml")["services"]["broker"]["environment"]
    assert int(broker["KAFKA_TRANSACTION_MAX_TIMEOUT_MS"]) <= 60_000
    properties, _ = write_config(tmp_path, 1, 2)
    assert f"transaction.max.timeout.ms={LONGEST_TRANSACTION_MS}" in properties.read_text()
    assert 15_000 < LONGEST_TRANSACTION_MS <= 60_000


def test_prometheus_asks_every_service_at_its_fixed_port() -> None:
    (job,) = _read("deploy/prometheus/prometheus.yml")["scrape_configs"]
    asked = {found["labels"]["component"]: found["targets"] for found in job["static_configs"]}
    base, every = Settings().http_port_base, processes_of(Settings(alertmanager_url="http://a:9093"))
    assert asked == {name: [f"127.0.0.1:{base + number}"] for number, name in enumerate(every)}


@pytest.mark.parametrize(
    "rule", _read("deploy/prometheus/rules.yml")["groups"][0]["rules"], ids=lambda rule: rule["alert"]
)
def test_a_rule_names_metrics_and_a_runbook_that_exist(rule: dict[str, Any]) -> None:
    assert set(re.findall(r"headrace_\w+", rule["expr"])) <= CATALOGUE.keys()
    assert (ROOT / rule["annotations"]["runbook_url"]).exists()
