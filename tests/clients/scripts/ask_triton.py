"""tritonclient[http]: JSON and binary tensors, compression, outputs, metadata. Prints the answers as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
answers = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready("flower"),
    "version_ready": [client.is_model_ready("flower", "1"), client.is_model_ready("flower", "9")],
    "server": client.get_server_metadata()["name"],
    "metadata": client.get_model_metadata("late"),
    "config": client.get_model_config("flower")["name"],
    "index": sorted(entry["name"] for entry in client.get_model_repository_index()),
}


def tensor(name: str, values: np.ndarray, datatype: str, binary: bool) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def flight(binary: bool) -> list[triton.InferInput]:
    return [
        tensor("miles", np.array([0.1, 0.9]), "FP64", binary),
        tensor("carrier", np.array([b"AA", b"UA"], dtype=object), "BYTES", binary),
    ]


flowers = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 2.9, 5.6, 1.8]], dtype=np.float32)
binary = client.infer("flower", [tensor("x", flowers, "FP32", True)], request_id="mine", model_version="1")
answers["flower"] = {
    "classes": binary.as_numpy("probabilities").argmax(axis=1).tolist(),
    "label": [word.decode() for word in binary.as_numpy("label")],
    "version": binary.as_numpy("version").tolist(),
    "id": binary.get_response()["id"],
}
asked = [triton.InferRequestedOutput("score", binary_data=False)]
answers["late"] = [
    client.infer("late", flight(True), outputs=asked).as_numpy("score").tolist(),
    client.infer("late", flight(False), outputs=asked).as_numpy("score").tolist(),
    *(
        client.infer("late", flight(True), request_compression_algorithm=packed, response_compression_algorithm=packed)
        .as_numpy("score")
        .tolist()
        for packed in ("gzip", "deflate")
    ),
]
many = tensor("x", np.repeat(flowers, 100, axis=0), "FP32", True)
answers["many"] = client.infer("flower", [many], response_compression_algorithm="gzip").as_numpy("version").tolist()
answers["fare"] = (
    client.infer("fare", [tensor("m", np.array([[500.0, np.nan]]), "FP64", True)]).as_numpy("score").tolist()
)
try:
    client.infer("nobody", flight(True))
except InferenceServerException as error:
    answers["error"] = error.message()
print(json.dumps(answers))
