"""A broker of its own for an area."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace_broker import Broker


@contextlib.contextmanager
def own_broker() -> Iterator[tuple[Broker, Path]]:
    """A fresh broker that runs, and the folder that it and the area share; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        broker = Broker(folder / "kafka", fresh=True).start()
        try:
            yield broker, folder
        finally:
            broker.stop()
