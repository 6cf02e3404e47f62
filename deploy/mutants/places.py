"""Which modules of which package are mutated, and which tests judge them."""

import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

BUILD = Path("build/mutants")
# Services whose core is mutated; the libraries' parts are named one by one.
COMMON = ("stats/*.py", "hosting/commit.py", "features/origins.py")
# Of each package so many modules are mutated in a quick run.
QUICK_MODULES = 3


@dataclass(frozen=True)
class Package:
    """`name`: for `ONLY=`. `source`: the folder on the import path. `patterns`: what is mutated below the package.

    `part`: only these modules are mutated, and judged by the tests that run no service; empty for all.
    """

    name: str
    imported: str
    source: Path
    patterns: tuple[str, ...]
    own_tests: tuple[Path, ...]
    part: tuple[Path, ...] = ()

    def quick(self, seed: int) -> "Package":
        """A few modules of it, by chance, that are judged by the tests that run no service: seconds instead of minutes."""
        files = [path for path in self.files() if "async def" not in path.read_text()]
        return replace(self, part=tuple(random.Random(seed).sample(files, min(QUICK_MODULES, len(files)))))

    @property
    def build(self) -> Path:
        """Where its mutated copy and its results lie. Verdicts of a quick run are kept apart: what lives there may die elsewhere."""
        return BUILD / "quick" / self.name if self.part else BUILD / self.name

    def files(self) -> list[Path]:
        """The modules that are mutated."""
        if self.part:
            return sorted(self.part)
        root = self.source / self.imported
        return sorted(path for pattern in self.patterns for path in root.glob(pattern) if path.name != "__init__.py")

    def module_of(self, path: Path) -> str:
        """A file's name in imports."""
        return ".".join(path.relative_to(self.source).with_suffix("").parts)

    def tests(self) -> list[Path]:
        """Its own tests, and the shared ones that name what is mutated: one of the modules, or a service's core."""
        modules = [self.module_of(path) for path in self.files()]
        named = modules if self.source.parts[0] == "libs" else [f"{self.imported}.core"]
        wanted = re.compile(rf"\b({'|'.join(map(re.escape, named))})\b")
        shared = [p for folder in ("cases", "flow", "contract") for p in Path("tests", folder).glob("test_*.py")]
        libs = [p for root in Path("libs").glob("*/tests") for p in root.rglob("test_*.py")]
        own = [p for root in self.own_tests for p in root.rglob("test_*.py")]
        others = [p for p in shared + libs if wanted.search(p.read_text())]
        return sorted({*own, *others} - {Path("tests/contract/test_doctests.py")})

    def digest(self) -> str:
        """Changes when anything does that may change a verdict on a mutant that lives: the package's code, or its tests."""
        return digest_of([*self._code(), *self.tests()])

    def digest_of_code(self) -> str:
        """Changes when anything does that may change which functions a test calls, the tests themselves aside."""
        return digest_of(self._code())

    def _code(self) -> list[Path]:
        places = [self.source / self.imported, *self.own_tests, Path("tests")]
        return [p for place in places for p in place.rglob("*.py") if not p.name.startswith("test_")]


def digest_of(paths: Iterable[Path]) -> str:
    """Of files and their names."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(f"{path}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def packages() -> dict[str, Package]:
    """All that `make mutants` goes through, by name."""
    common = Package(
        "common",
        "headrace",
        Path("libs/common/src"),
        COMMON,
        (Path("libs/common/tests/stats"),),
    )
    edge = Package("edge", "headrace_edge", Path("libs/edge/src"), ("rules/*.py",), (Path("libs/edge/tests"),))
    cores = [
        Package(root.name, f"headrace_{root.name}", root / "src", ("core/**/*.py",), (root / "tests",))
        for root in sorted(Path("services").iterdir())
        if (root / "src" / f"headrace_{root.name}" / "core").is_dir()
    ]
    return {package.name: package for package in [common, edge, *cores]}
