"""The reference page of what a project may declare, from the types' docstrings: `python -m headrace.project.reference
[--check]`.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

import headrace.project as declared
from headrace.generated import write_or_check

FILE = Path("docs/reference/project.md")
_GROUPS = (
    ("The project", ("Project",)),
    ("Streams and pipelines", ("RawStream", "Reference", "Source", "pipeline", "Pipeline", "outcomes", "Outcome", "Join", "Deduplicate")),
    ("Features", ("FeatureView", "Count", "Sum", "Mean", "Share", "Min", "Max", "Std", "Last", "Derived", "fn")),
)  # fmt: skip


def reference() -> str:
    """The page in Markdown. Names without a group of their own belong to the deployments."""
    grouped = {name for _, names in _GROUPS for name in names}
    groups = [*_GROUPS, ("Deployments", tuple(name for name in declared.__all__ if name not in grouped))]
    lines = ["# What a project declares", "", "Everything is imported from `headrace.project`. This page is written by `make schemas` from the types.", ""]  # fmt: skip
    for title, names in groups:
        lines += [f"## {title}", ""]
        for name in names:
            lines += _entry(name, getattr(declared, name))
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, found: Any) -> list[str]:
    if inspect.isclass(found) or callable(found):
        return [f"### `{name}{_signature(found)}`", "", inspect.cleandoc(found.__doc__ or ""), ""]
    text = inspect.cleandoc(type(found).__doc__ or "")
    return [f"### `{name}`", "", text if inspect.getmodule(type(found)) else "", ""]


def _signature(found: Any) -> str:
    """Names and defaults; the docstring describes the types."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:
        return "(...)"
    return "(" + ", ".join(_parameter(found) for found in parameters if not found.name.startswith("_")) + ")"


def _parameter(found: inspect.Parameter) -> str:
    stars = {found.VAR_POSITIONAL: "*", found.VAR_KEYWORD: "**"}.get(found.kind, "")
    if found.default is found.empty:
        return stars + found.name
    text = repr(found.default)
    return f"{found.name}=..." if "<" in text or len(text) > 30 else f"{found.name}={text}"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` report whether it differs."""
    return write_or_check(FILE, reference(), "the types", arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
