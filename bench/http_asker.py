"""Asks over HTTP/1.1 with so many connections kept open, each with one request under way. Prints the figures as JSON.

A client of its own on plain sockets, so that it is not the limit. Arguments: see `main`.
"""

import argparse
import asyncio
import itertools
import json
import time

import msgspec
import numpy as np

from bench.asker import COLUMNS, WARM_S, rows


def bodies(form: str) -> list[bytes]:
    """The request bodies, in the form that a server reads."""
    if form == "named":
        made = [{"inputs": dict(zip(COLUMNS, row, strict=True))} for row in rows()]
    elif form == "v2":
        made = [{"inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP32", "data": row}]} for row in rows()]
    elif form == "rows":
        made = [{"rows": [row]} for row in rows()]
    else:
        made = [{"row": row} for row in rows()]
    return [msgspec.json.encode(body) for body in made]


class Load:
    """A closed loop per connection."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        head = f"POST {given.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: "
        self._requests = [head.encode() + f"{len(body)}\r\n\r\n".encode() + body for body in bodies(given.form)]
        self._numbers = itertools.count()
        self._took: list[float] = []
        self._failed = 0
        self._until_s = 0.0

    async def run(self) -> dict[str, float]:
        """The figures of one run."""
        given = self._given
        now_s = time.perf_counter()
        self._until_s = now_s + WARM_S + given.seconds
        tasks = [asyncio.create_task(self._connection()) for _ in range(given.connections)]
        await asyncio.sleep(WARM_S)
        self._took.clear()
        self._failed = 0
        began_s = time.perf_counter()
        await asyncio.gather(*tasks)
        took_s = time.perf_counter() - began_s
        middle, late = np.percentile(np.array(self._took) * 1000, [50, 99]).tolist()
        return {
            "requests_per_s": len(self._took) / took_s,
            "p50_ms": middle,
            "p99_ms": late,
            "failed": float(self._failed),
        }

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._given.port)
        while (began_s := time.perf_counter()) < self._until_s:
            writer.write(self._requests[next(self._numbers) % len(self._requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            await self._read_body(reader, head.lower())
            if b" 200 " in head[:16]:
                self._took.append(time.perf_counter() - began_s)
            else:
                self._failed += 1
        writer.close()

    async def _read_body(self, reader: asyncio.StreamReader, head: bytes) -> None:
        _, named, rest = head.partition(b"content-length:")
        if named:
            await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
            return
        while (size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")


def main() -> None:
    """Run once and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("form", choices=("named", "v2", "row", "rows"))
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    print(json.dumps(asyncio.run(Load(parser.parse_args()).run())))


if __name__ == "__main__":
    main()
