"""A file of the repository that is generated: written, or compared with what it should be."""

import sys
from pathlib import Path


def write_or_check(file: Path, wanted: str, source: str, arguments: list[str]) -> int:
    """Write the file and return 0; with `--check` among `arguments` only compare it: 1 when it differs, and a sentence on stderr.

    `source`: what the file follows, in words.
    """
    if "--check" not in arguments:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted)
        return 0
    is_stale = not file.exists() or file.read_text() != wanted
    if is_stale:
        print(f"{file} differs from {source}; run `make schemas`", file=sys.stderr)
    return int(is_stale)
