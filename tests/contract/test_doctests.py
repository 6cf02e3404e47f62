"""Examples in docstrings are tests: they show what the code prints."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

PACKAGES = (
    "headrace",
    "headrace_cli.client",
    "headrace_edge",
    "headrace_gateway",
    "headrace_inference",
    "headrace_feature",
    "headrace_pipeline.core",
    "headrace_registry",
    "headrace_monitor",
    "headrace_trainer",
)
MODULES = sorted(
    found.name
    for package in PACKAGES
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    if not found.name.endswith("__main__")
)


def test_the_examples_of_all_modules_hold() -> None:
    attempted = 0
    for name in MODULES:
        module = importlib.import_module(name)
        # NB: looking through a module takes a tenth of a second and more, and most have no example.
        if ">>>" not in inspect.getsource(module):
            continue
        result = doctest.testmod(module)
        assert result.failed == 0, name
        attempted += result.attempted
    assert attempted > 15


@pytest.mark.parametrize("name", ["headrace.log.envelope", "headrace.events.verdicts", "headrace.durations"])
def test_the_rules_in_prose_have_an_example(name: str) -> None:
    assert doctest.DocTestFinder().find(importlib.import_module(name))
