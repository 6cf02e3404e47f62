"""Every dependency that a member names is in the lock that it is installed from, and each pin has a hash."""

import re
import sys
import tomllib
from pathlib import Path


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(lock: Path) -> set[str]:
    """Distributions pinned in a lock."""
    return {
        normalised(line.split("==")[0].strip())
        for line in lock.read_text().splitlines()
        if re.match(r"^[A-Za-z0-9]", line)
    }


def main() -> int:
    """Print what is missing; 1 when something is."""
    missing = []
    pinned = names_of(Path("requirements/dev.lock"))
    members = {
        normalised(tomllib.loads(p.read_text())["project"]["name"]): p for p in Path().glob("*/*/pyproject.toml")
    }
    for path in members.values():
        project = tomllib.loads(path.read_text())["project"]
        own = Path(f"requirements/{path.parent.name}.lock")
        wanted = {normalised(re.split(r"[<>=!~\[; ]", d)[0]) for d in project["dependencies"]} - members.keys()
        for lock, names in [(Path("requirements/dev.lock"), pinned)] + ([(own, names_of(own))] if own.exists() else []):
            missing += [f"{path}: {name} is not in {lock}; run `make lock`" for name in sorted(wanted - names)]
    for lock in Path("requirements").glob("*.lock"):
        text = lock.read_text()
        if "--hash=sha256:" not in text or "://" in text:
            missing.append(f"{lock}: must have hashes and no address")
    print("\n".join(missing))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
