"""The page is built as it should be: its pure modules pass their own tests, its types hold, and it stays small."""

import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "page"
MOST_LINES = 300


def run(*command: str) -> str:
    """What a command of node prints; a missing tool skips the test, and fails it where HEADRACE_CI is 1."""
    missing = "" if (PAGE / "node_modules" / ".locked").exists() else "npm has installed nothing (`make page`)"
    done = subprocess.run([PAGE / "with_node.sh", *command], capture_output=True, text=True, check=False)
    missing = missing or (done.stdout.strip() if done.returncode == 127 else "")
    if missing and os.environ.get("HEADRACE_CI") != "1":
        pytest.skip(f"the page is not tested: {missing}")
    assert not missing, missing
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_the_pure_modules_of_the_page_pass_their_tests() -> None:
    assert re.search(r"^(ℹ|#) fail 0$", run("node", "test.mjs"), re.MULTILINE)


def test_the_types_of_the_page_hold() -> None:
    run("node", "node_modules/typescript/bin/tsc", "--noEmit")


def test_a_first_visit_loads_at_most_60_kb(tmp_path: Path) -> None:
    """`build.mjs` refuses more; the assets have a hash in their name, so that browsers may keep them for ever."""
    kilobytes = re.search(r"built the page \w+: ([\d.]+) KB", run("node", "build.mjs", str(tmp_path)))
    assert kilobytes
    assert float(kilobytes[1]) <= 60
    # Counted again, by what is there: the scripts that no other one imports later, and the largest one that is.
    assets = {path.name: path.read_bytes() for path in (tmp_path / "assets").iterdir() if path.suffix != ".txt"}
    begin = next(name for name in assets if name.startswith("page-") and name.endswith(".js"))
    later = set(re.findall(r'import\("\./([^"]+)"\)', assets[begin].decode()))
    plain = {name for name in assets if not name.endswith(".js")} | {
        name for name in assets if name.startswith("theme-")
    }
    first = needed(assets, begin) | plain
    visits = [sum(map(zipped, (assets[name] for name in first | needed(assets, name)))) for name in later]
    assert len(later) == 3
    assert 0 <= 60 * 1024 - max(visits) < 60 * 1024 * 0.2, visits
    index = (tmp_path / "index.html").read_text()
    named = re.findall(r'"/assets/([^"]+)"', index)
    assert sorted(name.split("-")[0] + Path(name).suffix for name in named) == [
        "icon.svg",
        "page.css",
        "page.js",
        "theme.js",
    ]
    assert all((tmp_path / "assets" / name).exists() for name in named)
    assert "//" not in index, "the page loads nothing from elsewhere"


def needed(assets: dict[str, bytes], name: str) -> set[str]:
    """A script with all that it imports at once."""
    found, left = set[str](), {name}
    while left:
        found.add(one := left.pop())
        left |= set(re.findall(r'(?:from|import) ?"\./([^"]+)"', assets[one].decode())) - found
    return found


def zipped(content: bytes) -> int:
    return len(gzip.compress(content, 9))


def test_the_modules_of_the_page_are_small() -> None:
    lines = {
        path.name: len(path.read_text().splitlines())
        for path in (PAGE / "src").rglob("*")
        if path.suffix in {".ts", ".tsx", ".css"} and path.name != "documents.ts"
    }
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
