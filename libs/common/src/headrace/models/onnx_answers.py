"""What an ONNX graph answers, by its structure: the served output, whether it is probabilities, and the classes' names.

A graph answers probabilities when it also has an output of labels, or when its answer comes from a classifier of ONNX's
machine-learning operators or from a softmax. Nothing else distinguishes probabilities from several numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.errors import Poison

_SHAPING = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_CLASSIFIERS = ("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier", "Softmax")
_NAMES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


@dataclass(frozen=True)
class Answers:
    """`output`: the name of the served output. `is_probabilities`: of classes. `labels`: their names, () for none."""

    output: str
    is_probabilities: bool
    labels: tuple[str, ...]


def answers_of(model: Any) -> Answers:
    """What a graph (an onnx `ModelProto`) answers. Raises `Poison` when that cannot be determined."""
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    floats = [found.name for found in graph.output if _kind(found) in ("FLOAT", "DOUBLE")]
    labels = [found.name for found in graph.output if _kind(found) in ("INT64", "INT32", "STRING")]
    if not floats:
        outputs = ", ".join(f"{found.name} ({_kind(found).lower()})" for found in graph.output)
        raise Poison(f"the graph returns no float tensor but {outputs}; convert a classifier with zipmap=False")
    served = _only(floats)
    node = _behind(served, made_by)
    is_probabilities = bool(labels) or (node is not None and node.op_type in _CLASSIFIERS)
    return Answers(served, is_probabilities, _labels(graph, labels, made_by) if is_probabilities else ())


def _kind(output: Any) -> str:
    import onnx

    if output.type.WhichOneof("value") != "tensor_type":
        return "map or list"
    return str(onnx.TensorProto.DataType.Name(output.type.tensor_type.elem_type))


def _only(floats: list[str]) -> str:
    named = [name for name in floats if "prob" in name.lower()]
    if len(floats) == 1 or len(named) == 1:
        return (named or floats)[0]
    raise Poison(
        f"the graph returns several float tensors ({', '.join(floats)}), and an answer is one of them: export it with that output alone"
    )


def _behind(name: str, made_by: dict[str, Any]) -> Any:
    """The node that made this result, ignoring changes of shape and type; None for an input."""
    node = made_by.get(name)
    while node is not None and node.op_type in _SHAPING:
        node = made_by.get(node.input[0])
    return node


def _labels(graph: Any, outputs: list[str], made_by: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes: the table that the labels are taken from, or the last classifier's own."""
    tables = {found.name: found for found in graph.initializer}
    for node in (_behind(name, made_by) for name in outputs):
        if node is not None and node.op_type == "ArrayFeatureExtractor" and node.input[0] in tables:
            return tuple(_texts(_values(tables[node.input[0]])))
    for node in reversed(graph.node):
        for attribute in node.attribute:
            if attribute.name in _NAMES and (attribute.strings or attribute.ints):
                return tuple(_texts([*attribute.strings, *attribute.ints]))
    return ()


def _values(tensor: Any) -> list[Any]:
    import onnx.numpy_helper

    return list(onnx.numpy_helper.to_array(tensor).ravel().tolist())


def _texts(values: list[Any]) -> Iterator[str]:
    return (value.decode() if isinstance(value, bytes) else str(value) for value in values)
