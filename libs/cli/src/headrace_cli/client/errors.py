"""The errors of a request, distinguished by what the caller can do about them."""

from headrace.asking.prediction import Prediction
from headrace.errors import HeadraceError


class ClientError(HeadraceError):
    """Any error of the client."""


class Rejected(ClientError):
    """The request is invalid and must be changed: a bad value, unit or instant, no such deployment, no valid key, or a
    body that is too large."""


class Unreachable(ClientError):
    """No answer came within the deadline, and it is not known whether the request arrived: repeat it under `request_id`
    ("" when the client could not start)."""

    def __init__(self, reason: str, request_id: str) -> None:
        super().__init__(reason)
        self.request_id = request_id


class NotAnswered(ClientError):
    """There is no prediction; `prediction.outcome` says why: invalid, refused, expired or unknown."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(f"{prediction.outcome}: {prediction.reason} (request {prediction.request_id})")
        self.prediction = prediction
