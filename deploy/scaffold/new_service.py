"""`make new-service NAME=x`: the folders and files of a new service."""

import re
import sys
from pathlib import Path

HEADINGS = ("Decides", "Reads", "Writes", "Keeps", "Settings", "Alarms")


def main(arguments: list[str]) -> int:
    """Write services/NAME; 2 when the name is wrong or taken."""
    name = arguments[0] if arguments else ""
    root = Path("services") / name
    if not re.fullmatch(r"[a-z]+", name) or root.exists():
        print("give a new name in lower-case letters: make new-service NAME=explainer", file=sys.stderr)
        return 2
    for path, text in files(name).items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    print(
        f"services/{name} is written; add it to `services` in schemas/topics.yaml and to the import contracts, then run make lock setup"
    )
    return 0


def files(name: str) -> dict[str, str]:
    """Content per path."""
    package = f"src/headrace_{name}"
    readme = f"# {name}\n" + "".join(f"\n## {heading}\nTo be written.\n" for heading in HEADINGS)
    return {
        "pyproject.toml": _PYPROJECT.format(name=name),
        "README.md": readme,
        f"{package}/__init__.py": f'"""Decides what {name} decides."""\n',
        f"{package}/__main__.py": _MAIN.format(name=name),
        f"{package}/app.py": _APP.format(name=name),
        f"{package}/settings.py": f'"""Settings of {name} beyond the common ones."""\n',
        f"{package}/shell.py": '"""Gather, decide, act."""\n',
        f"{package}/core/__init__.py": f'"""Pure decisions of {name}: no I/O, clock, random generator or logging in here."""\n',
        f"tests/test_{name}_core.py": f'"""What {name} decides."""\n',
    }


_PYPROJECT = """[project]
name = "headrace-{name}"
version = "0.1.0"
description = "Decides what {name} decides."
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = ["headrace"]

[build-system]
requires = ["uv_build>=0.9,<1"]
build-backend = "uv_build"

[tool.uv.sources]
headrace = {{ workspace = true }}
"""
_MAIN = '''"""`python -m headrace_{name}`."""

from headrace.hosting.stopping import STOPPING


def run() -> int:
    """The exit code. Signals are handled before the heavy imports, because one may come at any moment."""
    STOPPING.begin("{name}")
    from headrace.project.service import main
    from headrace_{name}.app import build

    return main("{name}", build)


if __name__ == "__main__":
    raise SystemExit(run())
'''
_APP = '''"""The one place where {name} is wired."""

from collections.abc import Sequence

from headrace.hosting.runtime import Runnable
from headrace.project.service import Context


async def build(context: Context) -> Sequence[Runnable]:
    """The parts of the service."""
    return []
'''

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
