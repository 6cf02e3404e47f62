"""Starts a log while the broker is not there yet: back off, log the reason, and give up at the limit."""

import asyncio
import logging

from headrace.errors import Misconfigured, Retryable
from headrace.log.access import BrokerAccess
from headrace.log.backoff import delays_s
from headrace.log.diagnosis import refusal
from headrace.log.port import Log

_log = logging.getLogger("headrace.log")

LONGEST_TRY_S = 30.0


async def connect(log: Log, timeout_s: float, settings: BrokerAccess | None = None) -> None:
    """Start `log`, trying again with back-off. Raises the last `Retryable` after `timeout_s`.

    With `settings`, a broker that refuses us (password, certificate, protocol) raises `Misconfigured` at once.
    """
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + timeout_s
    for delay_s in delays_s(first_s=0.2, most_s=3.0):
        try:
            await _start(log, give_up_s - loop.time())
        except Retryable as error:
            refused = await refusal(settings) if settings is not None else None
            if refused is not None:
                raise Misconfigured(refused) from error
            if loop.time() + delay_s > give_up_s:
                raise Retryable(f"{error} (given up after {timeout_s:.0f} s)") from error
            _log.warning("%s; trying again in %.1f s", error, delay_s)
            await asyncio.sleep(delay_s)
        else:
            return


async def _start(log: Log, within_s: float) -> None:
    """One attempt. A frozen broker accepts the connection and does not answer; the client itself would wait for 40
    s.
    """
    try:
        async with asyncio.timeout(min(max(within_s, 1.0), LONGEST_TRY_S)):
            await log.start()
    except TimeoutError:
        raise Retryable("the broker takes the connection and does not answer") from None
