"""What can go wrong with a question, told apart by what the caller can do about it."""

from headrace.asking.prediction import Prediction
from headrace.errors import HeadraceError


class ClientError(HeadraceError):
    """Any of them."""


class Rejected(ClientError):
    """The question cannot be asked like this: a value, unit or instant that is none, no such deployment, no valid key, a
    body that is too large."""


class Unreachable(ClientError):
    """Nobody could be asked within the deadline; it is not known whether the question arrived: ask again under `request_id`
    ("" when the client could not even begin)."""

    def __init__(self, reason: str, request_id: str) -> None:
        super().__init__(reason)
        self.request_id = request_id


class NotAnswered(ClientError):
    """There is no prediction; `prediction.outcome` says why: invalid, refused, expired or unknown."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(f"{prediction.outcome}: {prediction.reason} (request {prediction.request_id})")
        self.prediction = prediction
