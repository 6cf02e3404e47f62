"""The serving area: asking a model through Kafka and over HTTP, beside what else serves one.

Everybody serves the same trees to the same asker, on one partition, in rounds: within a round each side is asked once, so
that a slow minute of the machine is everybody's. Ours does all of its work meanwhile: contract, routing, the decision
log committed exactly once, metrics.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.broker import own_broker
from bench.measure import RUNS, ForeignLoad, Row, Series, compare, peer_python, progress, run_json
from bench.model import trained
from bench.served import WAIT_S, Served, ask
from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog
from headrace.log.port import TopicSpec
from headrace_broker import Broker, free_port

SECONDS = 3.0
SUSTAINED_S = 60.0
PEERS = Path(__file__).parent / "peers"
Figures = dict[str, Series]
Ask = Callable[[], dict | None]


def run() -> list[Row]:
    """All rows of the area."""
    figures: Figures = defaultdict(Series)
    with own_broker() as (broker, folder), contextlib.ExitStack() as stack:
        model, port = trained(), free_port()
        served = stack.enter_context(Served(broker, model, gateway_port=port).running("inference", "gateway"))
        load = stack.enter_context(ForeignLoad())
        with contextlib.ExitStack() as peers:
            asked = _ours(served, port) | _peers(broker, folder, peers)
            for number in range(RUNS):
                for name, once in asked.items():
                    progress(f"serving, round {number + 1} of {RUNS}: {name}")
                    _note(figures, name, once())
        with Served(broker, model, partitions=4).running("inference") as wide:
            for number in range(RUNS):
                progress(f"serving, partitions, round {number + 1} of {RUNS}")
                _note(figures, "one partition", served.ask("fast", 64, SECONDS))
                _note(figures, "four partitions", wide.ask("fast", 64, SECONDS))
        progress(f"serving, sustained for {SUSTAINED_S:.0f} s")
        _note(figures, "sustained", served.ask("fast", 64, SUSTAINED_S))
    return _rows(figures, load.share)


def _note(figures: Figures, name: str, found: dict | None) -> None:
    if found is not None:
        figures[name].values.append(found["requests_per_s"])
        figures[f"{name}, p50"].values.append(found.get("p50_ms", 0.0))
        figures[f"{name}, unanswered"].values.append(found.get("unanswered_s", found.get("failed", 0.0)))


# who is asked


def _ours(served: Served, port: int) -> dict[str, Ask]:
    asked: dict[str, Ask] = {
        f"{answer} {window}": lambda answer=answer, window=window: served.ask(answer, window, SECONDS)
        for answer, windows in (("fast", (1, 64, 1000)), ("committed", (64, 1000)))
        for window in windows
    }
    return asked | {"gateway": lambda: _over_http(port, "/v1/deployments/bench-fast/predict", "named")}


def _peers(broker: Broker, folder: Path, stack: contextlib.ExitStack) -> dict[str, Ask]:
    """Everybody else who can be started; each is asked by a function."""
    asked = _raw(broker, folder, stack)
    for start in (_mlserver, _faststream, _fastapi, _bentoml):
        asked |= start(broker, folder, stack)
    return asked


def _raw(broker: Broker, folder: Path, stack: contextlib.ExitStack) -> dict[str, Ask]:
    """The raw echo, and the ceiling of transactions."""
    _make_topics(broker, "echo.in", "echo.out", "ceiling")
    command = [sys.executable, PEERS / "echo.py", broker.bootstrap_servers, "echo.in", "1", "echo.out"]
    stack.enter_context(_process(folder, *command))
    ceiling = [sys.executable, PEERS / "ceiling.py", broker.bootstrap_servers, "ceiling", "64", str(SECONDS)]
    echo: dict[str, Ask] = {
        f"echo {window}": lambda window=window: ask(broker, "ours", "echo.in", "echo.out", window, SECONDS)
        for window in (1, 64, 1000)
    }
    return echo | {"ceiling 64": lambda: run_json(ceiling, 60)}


def _mlserver(broker: Broker, folder: Path, stack: contextlib.ExitStack) -> dict[str, Ask]:
    python = peer_python("mlserver")
    if python is None or not _wrote_model(python, folder / "mlserver.joblib"):
        return {}
    _make_topics(broker, "mlserver-input", "mlserver-output")
    home, port = folder / "mlserver", free_port()
    for name, batching in (("default", {}), ("batching", {"max_batch_size": 64, "max_batch_time": 0.005})):
        (home / name).mkdir(parents=True)
        about = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel", **batching}
        about["parameters"] = {"uri": str(folder / "mlserver.joblib")}
        (home / name / "model-settings.json").write_text(json.dumps(about))
    settings = {
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "kafka_enabled": True,
        "kafka_servers": broker.bootstrap_servers,
        "debug": False,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    stack.enter_context(_process(folder, python.parent / "mlserver", "start", home))
    if not _is_up(f"http://127.0.0.1:{port}/v2/models/default/ready"):
        return {}

    def over_kafka(model: str, window: int) -> dict | None:
        return ask(broker, "v2", "mlserver-input", "mlserver-output", window, SECONDS, model=model)

    # NB: outputs are asked for by name, as every client of its REST interface that wants probabilities does.
    return {
        "mlserver batching 64": lambda: over_kafka("batching", 64),
        "mlserver batching 1000": lambda: over_kafka("batching", 1000),
        "mlserver default 64": lambda: over_kafka("default", 64),
        "mlserver default 1": lambda: over_kafka("default", 1),
        "mlserver rest": lambda: _over_http(port, "/v2/models/default/infer", "v2"),
    }


def _faststream(broker: Broker, folder: Path, stack: contextlib.ExitStack) -> dict[str, Ask]:
    python = peer_python("faststream")
    if python is None or not _wrote_model(python, folder / "faststream.joblib"):
        return {}
    _make_topics(broker, "faststream.in", "faststream.out")
    command = [python, PEERS / "faststream_app.py", folder / "faststream.joblib", broker.bootstrap_servers]
    stack.enter_context(_process(folder, *command, "faststream.in", "faststream.out"))
    return {"faststream 64": lambda: ask(broker, "json", "faststream.in", "faststream.out", 64, SECONDS)}


def _fastapi(_: Broker, folder: Path, stack: contextlib.ExitStack) -> dict[str, Ask]:
    python, port = peer_python("fastapi"), free_port()
    if python is None or not _wrote_model(python, folder / "fastapi.joblib"):
        return {}
    stack.enter_context(_process(folder, python, PEERS / "fastapi_app.py", folder / "fastapi.joblib", str(port)))
    return {"fastapi": lambda: _over_http(port, "/predict", "row")} if _is_up(f"http://127.0.0.1:{port}/docs") else {}


def _bentoml(_: Broker, folder: Path, stack: contextlib.ExitStack) -> dict[str, Ask]:
    python, port = peer_python("bentoml"), free_port()
    if python is None or not _wrote_model(python, folder / "bentoml.joblib"):
        return {}
    environ = {"MODEL_FILE": str(folder / "bentoml.joblib"), "BENTOML_HOME": str(folder / "bentoml")}
    environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = [python, "-m", "bentoml", "serve", "bentoml_app:Bench", "--host", "127.0.0.1", "--port", str(port)]
    stack.enter_context(_process(PEERS, *command, **environ))
    return (
        {"bentoml": lambda: _over_http(port, "/predict", "rows")} if _is_up(f"http://127.0.0.1:{port}/readyz") else {}
    )


def _wrote_model(python: Path, file: Path) -> bool:
    done = subprocess.run([python, Path(__file__).parent / "model.py", file], capture_output=True, check=False)
    if done.returncode:
        progress(f"no model for {file.stem}: {done.stderr.decode().strip().splitlines()[-1]}")
    return done.returncode == 0


@contextlib.contextmanager
def _process(folder: Path, *command: str | Path, **environ: str) -> Iterator[None]:
    """A peer's process, ended with the context."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environ}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([str(part) for part in command], cwd=folder, env=environment, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()


def _is_up(url: str) -> bool:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.2)
    progress(f"{url} does not answer: left out")
    return False


def _make_topics(broker: Broker, *names: str) -> None:
    async def work() -> None:
        log = KafkaLog(Settings(broker.bootstrap_servers))
        await log.start()
        await log.create_topics([TopicSpec(name, 1, {}) for name in names])
        await log.stop()

    asyncio.run(work())


def _over_http(port: int, path: str, form: str) -> dict | None:
    command = [sys.executable, "-m", "bench.http_asker", str(port), path, form, "--seconds", str(SECONDS)]
    return run_json(command, SECONDS + 60)


# what comes out


# long: one table of figures
def _rows(figures: Figures, foreign: float) -> list[Row]:
    def rate(name: str, ours: str, peer: str, peer_text: str, at_least: float | None) -> Row:
        return compare(
            f"serving.{name}",
            "requests/s",
            figures[ours],
            peer=peer_text,
            theirs=figures[peer],
            higher_is_better=True,
            demanded="none" if at_least is None else f">= {at_least:g} times the peer",
            meets=lambda _, ratio: at_least is None or ratio is None or ratio >= at_least,
            foreign=foreign,
        )

    def p50(name: str, peer: str, peer_text: str, at_least: float | None, demanded: str) -> Row:
        return compare(
            f"serving.{name}",
            "ms, p50, one request at a time, fast",
            figures["fast 1, p50"],
            peer=peer_text,
            theirs=figures[f"{peer}, p50"],
            demanded=demanded,
            meets=lambda _, ratio: at_least is None or ratio is None or ratio >= at_least,
            foreign=foreign,
        )

    batching, default = "MLServer Kafka, batching", "MLServer Kafka, default"
    rows = [
        rate("kafka_fast_64", "fast 64", "mlserver batching 64", batching, 2.0),
        rate("kafka_fast_64_default", "fast 64", "mlserver default 64", default, 6.0),
        rate("kafka_committed_64", "committed 64", "mlserver batching 64", batching, 1.0),
        rate("kafka_fast_1000", "fast 1000", "mlserver batching 1000", batching, 6.0),
        rate("kafka_committed_1000", "committed 1000", "mlserver batching 1000", batching, 6.0),
        rate("kafka_fast_64_faststream", "fast 64", "faststream 64", "FastStream, model in the handler", None),
        rate("kafka_fast_64_echo", "fast 64", "echo 64", "raw echo", None),
        rate("kafka_fast_1000_echo", "fast 1000", "echo 1000", "raw echo", None),
        rate("kafka_committed_64_ceiling", "committed 64", "ceiling 64", "64 records a transaction, no work", None),
        p50("sequential_echo", "echo 1", "raw echo", 1 / 1.5, "<= 1.5 times the echo"),
        p50("sequential_mlserver", "mlserver default 1", default, None, "none"),
        rate("gateway_64", "gateway", "mlserver rest", "MLServer REST, default", 3.0),
        rate("gateway_64_fastapi", "gateway", "fastapi", "FastAPI, model in the handler", None),
        rate("gateway_64_bentoml", "gateway", "bentoml", "BentoML, batching", None),
        rate("partitions_4", "four partitions", "one partition", "ours on 1 partition", 0.9),
    ]
    sustained = compare(
        "serving.sustained_60_s",
        "requests/s, window 64, fast",
        figures["sustained"],
        peer="ours for 3 s",
        theirs=figures["fast 64"],
        higher_is_better=True,
        demanded=">= 0.8 of the short runs, nothing unanswered for 5 s",
        meets=lambda _, ratio: (ratio or 0.0) >= 0.8 and figures["sustained, unanswered"].median < 5.0,
        foreign=foreign,
    )
    return [*rows, sustained]
