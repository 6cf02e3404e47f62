"""FastStream with the model in the handler. Arguments: model file, brokers, topic asked on, topic answered to."""

import asyncio
import sys

import joblib
import numpy as np
from faststream import FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel

file, brokers, requests, replies = sys.argv[1:5]
model = joblib.load(file)
broker = KafkaBroker(brokers, logger=None)
app = FastStream(broker, logger=None)


class Asked(BaseModel):
    id: str
    row: list[float]


@broker.subscriber(requests, auto_offset_reset="latest")
@broker.publisher(replies)
async def answer(asked: Asked) -> dict:
    return {"id": asked.id, "score": float(model.predict_proba(np.array([asked.row], np.float32))[0, 1])}


asyncio.run(app.run())
