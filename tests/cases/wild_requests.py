"""Random invalid requests by seed: bodies, heads and tensors that no client would write."""

import asyncio
import contextlib
import gzip
import json
import os
import random
import secrets
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project

DEPLOYMENT = Deployment(
    "delay", unit="flight", inputs=[Number("miles"), Category("carrier", nullable=True)], fallback=[prior(0.26)]
)
PROJECT = compile_project(Project("p", [DEPLOYMENT, Deployment("bare", unit="id", inputs=[])]))
ALLOWED = {*range(200, 300), *range(400, 500), 503, 504}
SEED = int(os.environ.get("HEADRACE_FUZZ_SEED", secrets.randbelow(2**32)))
GOOD = {"inputs": {"miles": 500, "carrier": "AA"}, "unit": "good"}
WILD: list[str] = [
    "null", "true", "0", "-1", "1e308", "1e400", "NaN", "-Infinity", "1" + "0" * 400, "-1" + "0" * 5000, "18446744073709551616",
    "9223372036854775808", "0.1", "1e-400", '""', '"x"', '"\\ud800"', '"\\udc00\\udc00"', '"\\u0000"', '"2500-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59-14:00"', '"0001-01-01T00:00:00+14:00"', '"yesterday"', "253402300799.9999", "-62135596801", "[]", "{}", "[[]]",
    "[[1,2,3],[4]]", "[" * 2000, "[" * 2000 + "]" * 2000, '{"a":' * 2000 + "1" + "}" * 2000, '"' + "x" * 20_000 + '"', "[null]", "[1,2]",
    "[9999999999999999999999]", "[-1]", "[0]", "[" + "9999," * 5000 + "9]", '"\xff"', "[true]", '["é"]', '{"name": "score"}',
]  # fmt: skip
PATHS = [
    "/v2/models/delay/infer", "/v1/models/delay:predict", "/v1/deployments/delay/predict", "/v2/repository/index", "/v2",
    "/v2/models/delay/versions/1/infer", "/v1/deployments/delay/versions/{}/predict", "/v2/models/{}/infer", "/v2/models/{}",
    "/v1/deployments/{}/predict", "/v1/models/{}:predict", "/v2/models/delay/versions/{}/ready", "/v2/models/delay/ready",
    "/v2/models/delay/config", "/v2/health/ready", "/v2/health/live", "/v2/health/{}", "/docs", "/docs/assets/{}", "/openapi.json", "/",
    "/v1/models", "/v1/models/delay", "/docs/", "/v2/", "/v2/health/ready/", "/v1/deployments/delay/outcomes", "/metrics", "/{}", "/v2/models/bare/infer", "*", "delay", "",
]  # fmt: skip
PARTS = [
    "a%2Fb", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "%ff%fe", "é", "%C3%A9", "²", "%C2%B2", "٣", "%D9%A3", "nobody", "%",
    "%zz", "a b", "1" * 30, "000000001" + "9" * 5000, "x" * 8000, "x" * 70_000, "-1", "%0d%0aX: y", "//", "a;b", "a?b", "x" * 300,
]  # fmt: skip
METHODS = ["POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "FOO"]
NAMES = ["inputs", "outputs", "parameters", "id", "rows", "instances", "unit", "at", "deadline_ms", "ready", "name"]


def wild(rng: random.Random) -> str:
    return rng.choice(WILD)


def tensor(rng: random.Random) -> str:
    fields = {
        "name": rng.choice(['"miles"', '"carrier"', '"flight"', '"x"', wild(rng)]),
        "shape": rng.choice(["[1]", "[2]", "[2,2]", "[0]", "[1,1]", "[-1]", "[]", wild(rng)]),
        "datatype": rng.choice(['"FP64"', '"BYTES"', '"INT64"', '"BOOL"', '"BF16"', '"FP128"', wild(rng)]),
        "data": rng.choice(["[1]", '["a"]', "[[1,2,3],[4]]", "[[[[1]]]]", "[1,2]", wild(rng)]),
        "parameters": rng.choice(
            ["null", "{}", f'{{"binary_data_size": {rng.choice(["8", "-1", "1e9", wild(rng)])}}}']
        ),
    }
    kept = {name: value for name, value in fields.items() if rng.random() < 0.9}
    return "{" + ",".join(f'"{name}":{value}' for name, value in kept.items()) + "}"


def document(rng: random.Random) -> str:
    """JSON that is nearly a request, in one of the protocols."""
    values = {
        "inputs": rng.choice(
            [
                f"[{','.join(tensor(rng) for _ in range(rng.randint(0, 4)))}]",
                f'{{"miles": {wild(rng)}, "carrier": {wild(rng)}}}',
                wild(rng),
            ]
        ),
        "instances": rng.choice([f"[{wild(rng)}]", f"[[{wild(rng)},{wild(rng)}]]", f'[{{"flight":{wild(rng)}}}]']),
        "rows": rng.choice([f'[{{"inputs": {{"miles": {wild(rng)}}}, "at": {wild(rng)}}}]', wild(rng)]),
        "parameters": rng.choice(
            [
                "null",
                f'{{"{rng.choice(["at", "unit", "deadline_ms", "binary_data_output"])}": {wild(rng)}}}',
                wild(rng),
            ]
        ),
        "outputs": rng.choice(["null", '[{"name":"score"}]', '[{"name":"score"},{"name":"score"}]', f"[{wild(rng)}]"]),
        "deadline_ms": rng.choice(["50", wild(rng)]),
    }
    chosen = [name for name in NAMES if rng.random() < 0.35]
    return "{" + ",".join(f'"{name}":{values.get(name, wild(rng))}' for name in chosen) + "}"


def a_body(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.7:
        return document(rng).encode("latin-1")[:70_000]
    if kind < 0.8:
        return binary(rng)
    if kind < 0.9:
        return mutated(json.dumps(GOOD).encode(), rng)
    return rng.randbytes(rng.choice([0, 1, 10, 1000, 66_000]))


def binary(rng: random.Random) -> bytes:
    size = rng.choice([0, 3, 8, 9, 16, 2**31, 2**70])
    head = {"name": "miles", "shape": [rng.choice([1, 2, 10**9])], "datatype": rng.choice(["FP64", "BYTES", "BOOL"])}
    described = json.dumps({"inputs": [head | {"parameters": {"binary_data_size": size}}]}).encode()
    tail = rng.choice(
        [struct.pack("<d", float("nan")), b"\xff" * 8, b"\x01\x00\x00\x00\xff\x00\x00\x00", b"", bytes(17)]
    )
    return described + tail


def mutated(good: bytes, rng: random.Random) -> bytes:
    found = bytearray(good)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(3):
            case 0:
                found[at:at] = rng.randbytes(rng.randint(1, 4))
            case 1:
                del found[at : at + rng.randint(1, 5)]
            case _:
                found[at : at + 1] = rng.randbytes(1)
    return bytes(found)


def packed(body: bytes, rng: random.Random) -> tuple[str, bytes]:
    match rng.randrange(6):
        case 0:
            return "gzip", gzip.compress(bytes(30_000_000)) if rng.random() < 0.1 else gzip.compress(body)
        case 1:
            return "deflate", zlib.compress(body)[: rng.choice([3, 10**9])]
        case 2:
            return rng.choice(["br", "gzip, gzip", "é", "x" * 5000, "gzip"]), body
        case _:
            return "", body


def a_request(rng: random.Random) -> bytes:
    """One request as bytes. Its connection is closed afterwards."""
    path = rng.choice(PATHS)
    usual = "POST" if path.endswith(("infer", "predict", "index")) else "GET"
    method = usual if rng.random() < 0.85 else rng.choice(METHODS)
    path = path.replace("{}", rng.choice(PARTS)) + rng.choice(["", "", "", "?", "?a=b", "?" + "%" * 100, "?é", "#x"])
    encoding, body = packed(a_body(rng), rng)
    host = (
        "x"
        if rng.random() < 0.8
        else rng.choice(["[", "é", "", "a b", "x" * 5000, "[::1]:99999999", "x:y", "http://x"])
    )
    headers = [("Host", host), ("Connection", "close"), *([("Content-Encoding", encoding)] if encoding else [])]
    headers += a_few_headers(rng)
    if rng.random() < 0.9:
        headers.append(("Content-Length", str(len(body))))
    elif rng.random() < 0.5:
        headers.append(("Content-Length", rng.choice(["-1", "x", "9" * 30, "0", "3", str(len(body) // 2)])))
    else:
        headers.append(("Transfer-Encoding", "chunked"))
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if rng.random() < 0.7 else body
    head = f"{method} {path or '/'} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    whole = head.encode("utf-8", "surrogatepass") + body
    return mutated(whole, rng) if rng.random() < 0.1 else whole


def a_few_headers(rng: random.Random) -> Iterator[tuple[str, str]]:
    offers = {
        "Inference-Header-Content-Length": ["0", "5", "-1", "²", "9" * 50, "x", "70000"],
        "Idempotency-Key": ["k", "", "\t", "x" * 500, "x" * 60_000, "é", "a/b", "k\x7f"],
        "Accept-Encoding": ["gzip", "gzip;q=0", "," * 1000, "deflate"],
        "traceparent": ["00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x" * 5000, "é"],
        "Authorization": ["Bearer x", "Basic !", "Bearer " + "x" * 9000, "é"],
        "Content-Type": ["text/plain", "é", ""],
        "Expect": ["100-continue", "x"],
        "Upgrade": ["h2c", "websocket"],
        "X-Many": ["y"] * 1,
    }
    for name, values in offers.items():
        if rng.random() < 0.15:
            yield name, rng.choice(values)
    if rng.random() < 0.02:
        yield from ((f"X-{n}", "y" * 50) for n in range(1000))


@dataclass
class Fuzzer:
    """Sends until `until_s`; `seen` counts statuses, `slowest_s` is the longest wait for an answer."""

    port: int
    until_s: float
    seen: Counter[str]
    slowest_s: float = 0.0

    async def run(self, seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < self.until_s:
            made = a_request(rng)
            began_s = time.monotonic()
            try:
                answer = await asyncio.wait_for(answer_to(self.port, made, ends=rng.random() < 0.1), 40)
            except TimeoutError:
                pytest.fail(f"no answer within 40 s to {made[:3000]!r}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            self.look(made, answer)

    def look(self, made: bytes, answer: bytes) -> None:
        if not answer:
            self.seen["hung up"] += 1
            return
        status = int(answer.removeprefix(b"HTTP/1.1 ")[:3])
        self.seen[str(status)] += 1
        assert status in ALLOWED, (made[:3000], answer[:600])
        head, _, body = answer.partition(b"\r\n\r\n")
        if status >= 400 and body and b"content-encoding" not in head.lower():
            parsed = json.loads(body)
            parsed = parsed if "error" in parsed or "reason" in parsed else parsed["rows"][0]
            assert isinstance(parsed.get("error", parsed.get("reason")), str), answer[:600]


async def answer_to(port: int, made: bytes, *, ends: bool = False) -> bytes:
    """One complete answer; b"" if the server closes the connection without one. `ends`: the client closes its sending half, which
    servers may treat as a disconnect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(made)
        with contextlib.suppress(OSError):
            await writer.drain()
            if ends:
                writer.write_eof()
        return await an_answer(reader, made.startswith(b"HEAD "))
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.close()


async def an_answer(reader: asyncio.StreamReader, is_head: bool) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        return await an_answer(reader, is_head)
    sizes = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head if is_head or not sizes else head + await reader.readexactly(sizes[0])


async def stay_served(port: int, until_s: float, within_s: float) -> int:
    """A valid client beside the fuzzing ones: every call is answered 200, on a connection of its own."""
    served = 0
    body = json.dumps(GOOD | {"deadline_ms": int(within_s * 1000)}).encode()
    made = b"POST /v1/deployments/delay/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    made += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    while time.monotonic() < until_s:
        answer = await answer_to(port, made)
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:600]
        served += 1
        await asyncio.sleep(0.05)
    return served


async def attack(port: int, seconds: float, askers: int, within_s: float) -> tuple[Fuzzer, int]:
    """Send random requests and valid ones at the same time."""
    fuzzer = Fuzzer(port, time.monotonic() + seconds, Counter())
    async with asyncio.TaskGroup() as group:
        good = group.create_task(stay_served(port, fuzzer.until_s, within_s))
        for n in range(askers):
            group.create_task(fuzzer.run(SEED + n))
    print(f"seed {SEED}: {dict(fuzzer.seen)}, slowest {fuzzer.slowest_s:.1f} s, {good.result()} good calls served")
    return fuzzer, good.result()


async def set_up(log: Log, topics: Topics) -> None:
    await ensure_topics(log, topics.specs(PROJECT))
    producer = await log.producer()
    applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, time.time())
    await producer.send([out(topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0))])
    await producer.close()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "x", "\u00e9", "2500-01-01T00:00:00Z"])
    | st.sampled_from([10**400, -(2**64)])
)
values = st.recursive(
    scalars, lambda some: st.lists(some, max_size=4) | st.dictionaries(st.sampled_from(NAMES), some), max_leaves=4
)
