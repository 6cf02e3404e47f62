"""Kafka's jars: resolved once from the Maven registry into a cache, each checked against a pinned sha256."""

import hashlib
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from headrace_broker.errors import BrokerError

KAFKA = ("org.apache.kafka", "kafka_2.13", "4.3.1")
# Kafka logs through slf4j 1.7; without this binding it logs nothing.
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
PINS = "jars.sha256"


def cache_dir() -> Path:
    """Where the jars are kept between runs: `$XDG_CACHE_HOME/headrace`, by default `~/.cache/headrace`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headrace"


def pinned() -> dict[str, str]:
    """sha256 per jar name, as committed."""
    lines = resources.files("headrace_broker").joinpath(PINS).read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line)}


def kafka_jars(cache: Path | None = None) -> Path:
    """The folder of verified jars, downloaded if it does not exist; an interrupted download leaves nothing."""
    cache = cache or cache_dir()
    folder = cache / f"kafka-{KAFKA[2]}"
    if _is_complete(folder):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="kafka-") as scratch:
        fresh = Path(scratch) / "jars"
        _resolve(fresh, Path(scratch) / "repository")
        refuse_strangers(fresh)
        (fresh / ".verified").write_text(_stamp())
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return folder


def refuse_strangers(folder: Path, pins: dict[str, str] | None = None) -> None:
    """Raise `BrokerError` unless the folder holds exactly the pinned jars."""
    pins = pinned() if pins is None else pins
    found = {jar.name: sha256(jar) for jar in folder.glob("*.jar")}
    for name in sorted(pins.keys() | found.keys()):
        if pins.get(name) != found.get(name):
            raise BrokerError(
                f"Kafka's {name} has sha256 {found.get(name, '(missing)')}, pinned is {pins.get(name, '(none)')}: "
                "the download is damaged or has other contents; try again, and do not use it if this repeats"
            )


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_complete(folder: Path) -> bool:
    stamp = folder / ".verified"
    return stamp.exists() and stamp.read_text() == _stamp() and all((folder / name).exists() for name in pinned())


def _stamp() -> str:
    return hashlib.sha256(repr(sorted(pinned().items())).encode()).hexdigest()


def _resolve(into: Path, repository: Path) -> None:
    from jgo.maven import Dependency, MavenContext

    into.mkdir(parents=True)
    print(f"Fetching Apache Kafka {KAFKA[2]} (44 MB, once) ...", flush=True)
    try:
        context = MavenContext(repo_cache=repository)
        kafka, logging = (
            Dependency(context.project(group, name).at_version(version).artifact())
            for group, name, version in (KAFKA, LOGGING)
        )
        # NB: one at a time: resolved together, jgo mediates Kafka's own jars to older versions.
        for part in context.resolver.resolve([kafka]):
            for dependency in part:
                shutil.copy(dependency.artifact.resolve(), into)
        shutil.copy(logging.artifact.resolve(), into)
    except Exception as error:
        raise BrokerError(
            f"Kafka's jars could not be fetched ({type(error).__name__}: {error}): check the connection to a Maven registry, "
            "or set KAFKA_BOOTSTRAP_SERVERS to use a broker of your own"
        ) from error
