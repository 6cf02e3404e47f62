"""Inference whose shadows take a while: each call of one sleeps, then scores as ever.

A model that can be loaded cannot sleep, since it is data; what a slow one does to its service is the same.
"""

import os
import threading
import time
from typing import Any

CALL_S = float(os.environ.get("BENCH_SHADOW_CALL_S", "0.2"))


def _slow_down() -> None:
    from headrace_inference.adapters import models

    sound = models.ask

    def ask(*given: Any) -> Any:
        if threading.current_thread().name.startswith("shadow-"):
            time.sleep(CALL_S)
        return sound(*given)

    models.ask = ask  # ty: ignore[invalid-assignment] - it takes what the sound one takes


if __name__ == "__main__":
    from headrace_inference.__main__ import run

    _slow_down()
    raise SystemExit(run())
