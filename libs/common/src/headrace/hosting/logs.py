"""Logs: one JSON object per line on stderr, from the standard library's loggers. A flood of lines is counted, not
written.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

# The number of lines of one kind (ignoring numbers), and of all kinds, that are written in ten seconds; the rest is
# counted. While a flood continues, one line of its kind is written in ten seconds, since a client without a broker has
# twenty kinds.
OF_ONE_KIND = 5
OF_A_FLOOD = 1
OF_ALL = 500
WINDOW_S = 10.0
MOST_KINDS = 1_000
LONGEST_LINE = 16_384
_VARYING = re.compile(r"0x[0-9a-f]+|[0-9]+")


class JsonLines(logging.Formatter):
    """`{"at": ..., "level": ..., "service": ..., "logger": ..., "message": ...}`, with the trace when there is one."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = _cut(self.formatException(record.exc_info))
        return json.dumps(line)


@dataclass(slots=True)
class _Kind:
    """One kind of line in the window that began at `since_s`. `most`: how many of it are written in this window."""

    since_s: float
    written: int = 0
    left_out: int = 0
    most: int = OF_ONE_KIND


class Flood(logging.Filter):
    """Passes `OF_ONE_KIND` lines of a kind per window, or `OF_A_FLOOD` while a flood continues.

    The first line after a window reports how many were left out.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._all = _Kind(now_s())
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written. NB: never raises, even for a faulty call of a logger on a user's thread."""
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"{record.msg!s:.1000} (this log line cannot be formatted: {type(error).__name__}: {error})"
            record.msg, record.args = message, None
        with self._lock:
            return self._lets_through(record, message)

    def _lets_through(self, record: logging.LogRecord, message: str) -> bool:
        now_s = self._now_s()
        kind = self._kind((record.name, _VARYING.sub("#", message[:200])), now_s)
        left_out = _roll(kind, now_s)
        _roll(self._all, now_s)
        if kind.written >= kind.most or (self._all.written >= OF_ALL and record.levelno < logging.CRITICAL):
            kind.left_out += 1
            return False
        kind.written += 1
        self._all.written += 1
        if left_out:
            record.msg, record.args = f"{message} (and {left_out} more like it, left out)", None
        return True

    def _kind(self, key: tuple[str, str], now_s: float) -> _Kind:
        if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
            self._kinds.pop(next(iter(self._kinds)))
        return self._kinds.setdefault(key, _Kind(now_s))


def _roll(kind: _Kind, now_s: float) -> int:
    """Begin a new window when the last one is over. Returns how many lines the last one left out."""
    if now_s - kind.since_s < WINDOW_S:
        return 0
    left_out, goes_on = kind.left_out, kind.written + kind.left_out >= OF_ONE_KIND
    kind.since_s, kind.written, kind.left_out = now_s, 0, 0
    kind.most = OF_A_FLOOD if goes_on else OF_ONE_KIND
    return left_out


def _cut(text: str) -> str:
    return (
        text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ... ({len(text) - LONGEST_LINE} characters more)"
    )


def set_up_logs(service: str, level: str) -> None:
    """Send all loggers of this process to stderr as JSON lines; those of client libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    handler.addFilter(Flood())
    # NB: on a full disk a line is lost, and so would be a traceback about it.
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiokafka", "faust", "mode", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
