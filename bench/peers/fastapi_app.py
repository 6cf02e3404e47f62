"""FastAPI and the model in the handler, as most people begin. Arguments: model file, port."""

import sys

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load(sys.argv[1])
app = FastAPI()


class Row(BaseModel):
    row: list[float]


@app.post("/predict")
async def predict(asked: Row) -> dict[str, float]:
    return {"score": float(model.predict_proba(np.array([asked.row], np.float32))[0, 1])}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
