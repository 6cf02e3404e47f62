"""locust: users that send requests without a pause, over V2 and with named inputs."""

from locust import FastHttpUser, constant, task

MILES = {"name": "miles", "shape": [1], "datatype": "FP64", "data": [0.5]}
CARRIER = {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]}


class Asker(FastHttpUser):
    """A user that sends requests without a pause."""

    wait_time = constant(0)

    @task(3)
    def infer(self) -> None:
        self.client.post("/v2/models/late/infer", json={"inputs": [MILES, CARRIER]})

    @task(1)
    def predict(self) -> None:
        self.client.post("/v1/deployments/late/predict", json={"inputs": {"miles": 0.5, "carrier": "AA"}})

    @task(1)
    def metadata(self) -> None:
        self.client.get("/v2/models/late")
