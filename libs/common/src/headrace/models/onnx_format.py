"""ONNX files: loaded from bytes, run by ONNX Runtime on one thread.

Refused before the runtime sees them: tensors that lie in other files (a path is a way out of the artifact), operators that
are not ONNX's own (they name shared libraries), and graphs whose input is not one float matrix.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.models.engine import BINARY, CLASSES, NUMBER, Floats, extra, numbered, shares

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_FLOATS = ("tensor(float)", "tensor(double)")


class OnnxEngine:
    """A graph with one float32 input of shape (n, columns); what it answers is told from a row of zeros."""

    def __init__(self, session: Any) -> None:
        self._session = session
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
            told = ", ".join(f"{found.name}: {found.type}{found.shape}" for found in inputs)
            raise Poison(f"the graph must take one float matrix (rows, columns), it takes {told}")
        self._input = inputs[0].name
        width = inputs[0].shape[1]
        self.columns: int | None = width if isinstance(width, int) else None
        self._answer = self._choose_answer()
        self.output, self.labels = self._look()

    def predict(self, rows: Any, output: str) -> Floats:
        """See `Engine`."""
        return shares(self._run(np.ascontiguousarray(rows, np.float32)), output)

    def _run(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run([self._answer], {self._input: rows})[0]

    def _choose_answer(self) -> str:
        """The last float tensor: classifiers put their label before it."""
        found = [output.name for output in self._session.get_outputs() if output.type in _FLOATS]
        if not found:
            told = ", ".join(f"{output.name}: {output.type}" for output in self._session.get_outputs())
            raise Poison(f"the graph returns no float tensor but {told}; convert a classifier with zipmap=False")
        return found[-1]

    def _look(self) -> tuple[str, tuple[str, ...]]:
        if self.columns is None:
            raise Poison("the graph does not say how many columns it takes; export it with a fixed second dimension")
        raw = self._run(np.zeros((2, self.columns), np.float32))
        is_classifier = len(self._session.get_outputs()) > 1
        width = raw.shape[1] if raw.ndim == 2 else 1
        if width == 1 and not is_classifier:
            return NUMBER, ()
        return (BINARY, numbered(2)) if width <= 2 else (CLASSES, numbered(width))


def engine(data: bytes) -> OnnxEngine:
    """The engine of an ONNX file. Raises `Poison`."""
    refuse_unsafe(data)
    runtime = extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return OnnxEngine(runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"]))
    except (Poison, MemoryError):
        raise
    except Exception as error:
        # NB: the runtime raises types of its own for whatever is wrong with a graph.
        raise Poison(f"ONNX Runtime cannot load it: {type(error).__name__}: {error}") from error


def refuse_unsafe(data: bytes) -> None:
    """Raise `Poison` for bytes that are no ONNX model, or one that reaches outside of itself."""
    onnx = extra("onnx")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        # NB: protobuf's own exception types are not part of its interface.
        raise Poison(f"artifact is not an ONNX model: {type(error).__name__}: {error}") from error
    if not model.graph.node:
        raise Poison("artifact is not an ONNX model: its graph is empty")
    for graph in [model.graph, *model.functions]:
        for found in _walk(graph):
            _refuse(found, onnx.TensorProto.EXTERNAL)


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
