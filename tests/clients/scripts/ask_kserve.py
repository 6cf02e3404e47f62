"""kserve's REST client, V2 and V1. Prints the answers as JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

URL = sys.argv[1]


def flight(binary: bool) -> InferRequest:
    miles, carrier = InferInput("miles", [2], "FP64"), InferInput("carrier", [2], "BYTES")
    miles.set_data_from_numpy(np.array([0.1, 0.9]), binary_data=binary)
    carrier.set_data_from_numpy(np.array([b"AA", b"UA"], dtype=np.object_), binary_data=binary)
    return InferRequest("late", [miles, carrier], "mine")


async def over_v2() -> dict:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    answers = [await client.infer(URL, flight(binary), model_name="late") for binary in (False, True)]
    return {
        "live": await client.is_server_live(URL),
        "ready": await client.is_server_ready(URL),
        "model_ready": [await client.is_model_ready(URL, "late"), await client.is_model_ready(URL, "nobody")],
        "id": answers[0].id,
        "scores": [answer.outputs[0].as_numpy().tolist() for answer in answers],
        "step": answers[0].parameters["step"],
    }


async def over_v1() -> dict:
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    body = {"instances": [{"miles": 0.1, "carrier": "AA"}, [0.9, "UA"]]}
    answers = {
        "live": await client.is_server_live(URL),
        "model_ready": await client.is_model_ready(URL, "late"),
        "scores": (await client.infer(URL, body, model_name="late"))["predictions"],
    }
    try:
        await client.infer(URL, {"instances": []}, model_name="late")
    except httpx.HTTPStatusError as error:
        answers["error"] = str(error)
    return answers


async def main() -> None:
    print(json.dumps({"v2": await over_v2(), "v1": await over_v1()}))


asyncio.run(main())
