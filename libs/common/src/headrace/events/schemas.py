"""JSON Schemas of all events, generated from their types: `python -m headrace.events.schemas [--check]`."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from headrace.events import event_types

FOLDER = Path("schemas/events")


def schemas() -> dict[str, dict[str, Any]]:
    """One schema per file name, such as `version.registered.v1.json`."""
    return {f"{name}.v1.json": _schema(name, found) for name, found in sorted(event_types().items())}


def main(arguments: list[str]) -> int:
    """Write the schemas, or with `--check` report which files differ from the types."""
    wanted = {name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas().items()}
    if "--check" not in arguments:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            (FOLDER / name).write_text(text)
        return 0
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if stale:
        print(f"schemas differ from the types: {', '.join(stale)}; run `make schemas`", file=sys.stderr)
    return bool(stale)


def _schema(name: str, found: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{name}.v1.json",
        **msgspec.json.schema(found),
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
