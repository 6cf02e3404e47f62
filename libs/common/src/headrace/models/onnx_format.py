"""ONNX files: loaded from bytes, run by ONNX Runtime on one thread.

Before the runtime sees a file, it is refused if tensors lie in other files (a path leads out of the artifact),
operators are not ONNX's own (they name shared libraries), or its input is not one float matrix.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.models.engine import BINARY, CLASSES, NUMBER, UNCLEAR, Floats, Vocabularies, as_served, extra, numbered
from headrace.models.onnx_answers import Answers, answers_of

_DRAWN, _SLACK = 16, 1e-3
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


class OnnxEngine:
    """A graph with one float32 input of shape (n, columns). Rows of zeros show the width of its answer."""

    def __init__(self, session: Any, answers: Answers) -> None:
        self._session, self._answer = session, answers.output
        self.names: tuple[str, ...] = ()
        self.vocabularies: Vocabularies = {}
        self.notes: tuple[str, ...] = ()
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
            inputs_text = ", ".join(f"{found.name}: {found.type}{found.shape}" for found in inputs)
            raise Poison(
                f"the graph must take one float matrix (rows, columns), it takes {inputs_text}: {_way_out(inputs)}"
            )
        self._input = inputs[0].name
        width = inputs[0].shape[1]
        self.columns: int | None = width if isinstance(width, int) else None
        self.output, self.labels = self._look(answers)

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`."""
        return as_served(self._run(np.ascontiguousarray(rows, np.float32)), output)

    def _run(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run([self._answer], {self._input: rows})[0]

    def _look(self, answers: Answers) -> tuple[str, tuple[str, ...]]:
        """What it predicts, and its classes. Several numbers without evidence for probabilities are `UNCLEAR`."""
        if self.columns is None:
            raise Poison("the graph does not state how many columns it takes; export it with a fixed second dimension")
        raw = self._run(np.zeros((2, self.columns), np.float32))
        if raw.ndim not in (1, 2) or len(raw) != 2:
            raise Poison(
                f"the graph answers an array of shape {raw.shape} for 2 rows: one row of values each is served"
            )
        width = raw.shape[1] if raw.ndim == 2 else 1
        if not answers.is_probabilities:
            return (NUMBER, ()) if width == 1 else (UNCLEAR, numbered(width))
        count = max(2, width)
        self._refuse_scores(raw)
        labels = answers.labels if len(answers.labels) == count else numbered(count)
        return (BINARY, labels) if count == 2 else (CLASSES, labels)

    def _refuse_scores(self, raw: np.ndarray) -> None:
        """Raise `Poison` for a classifier that answers margins, or one probability for each of several labels."""
        drawn = np.random.default_rng(0).normal(size=(_DRAWN, self.columns or 1)).astype(np.float32)
        try:
            raw = np.concatenate([raw, self._run(drawn)])
        except Exception:
            # NB: a graph may only take whole numbers, and its runtime raises its own types. Then the zeros must
            # suffice.
            raw = raw.astype(np.float64)
        known = raw[np.isfinite(raw).all(axis=-1)] if raw.ndim == 2 else raw[np.isfinite(raw)]
        is_within = not known.size or (known.min() >= -_SLACK and known.max() <= 1 + _SLACK)
        is_whole = known.ndim == 1 or known.shape[1] == 1 or bool(np.all(np.abs(known.sum(axis=1) - 1) <= _SLACK))
        if not is_within or not is_whole:
            raise Poison(
                "the graph's classes have scores that are not probabilities (outside 0..1, or not adding up to 1): export it with raw_scores=False,"
                " calibrate a classifier without probabilities first, and train one model per label of several"
            )


def _way_out(inputs: Sequence[Any]) -> str:
    if any(found.type == "tensor(string)" for found in inputs):
        return "texts become codes before it (--categories names them), or save the scikit-learn pipeline itself by skops.io.dump"
    return "convert it with one, skl2onnx.to_onnx(model, X[:1].to_numpy('float32')) of a frame X, columns in the order of the inputs"


def engine(data: bytes) -> OnnxEngine:
    """The engine of an ONNX file. Raises `Poison`."""
    answers = answers_of(refuse_unsafe(data))
    runtime = extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return OnnxEngine(runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"]), answers)
    except (Poison, MemoryError):
        raise
    except Exception as error:
        # NB: the runtime raises its own types for any fault of a graph.
        raise Poison(f"ONNX Runtime cannot load it: {type(error).__name__}: {error}") from error


def refuse_unsafe(data: bytes) -> Any:
    """The model of a file. Raises `Poison` for bytes that are not an ONNX model, or for one that refers to other
    files.
    """
    onnx = extra("onnx")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        # NB: protobuf's exception types are not part of its interface.
        raise Poison(f"artifact is not an ONNX model: {type(error).__name__}: {error}") from error
    if not model.graph.node:
        raise Poison("artifact is not an ONNX model: its graph is empty")
    for graph in [model.graph, *model.functions]:
        for found in _walk(graph):
            _refuse(found, onnx.TensorProto.EXTERNAL)
    return model


def _refuse(found: Any, external: int) -> None:
    kind = type(found).__name__
    if kind == "TensorProto" and (found.data_location == external or found.external_data):
        raise Poison(f"tensor {found.name!r} lies in another file: save the model with save_as_external_data=False")
    if kind in ("NodeProto", "FunctionProto") and found.domain not in DOMAINS:
        raise Poison(f"operator {found.domain}.{getattr(found, 'op_type', found.name)} is not one of ONNX's own")


def _walk(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages inside it, to any depth."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        yield found
        for field, value in found.ListFields():
            if field.message_type is None:
                continue
            waiting += [value] if hasattr(value, "ListFields") else list(value)
