"""The versions that this instance has loaded, and those that must rest after they failed."""

from headrace.clock import Clock
from headrace_inference.adapters.models import LoadedModel
from headrace_inference.core.warming import Name

REST_S = 30.0


class Shelf:
    """Loaded models by (deployment, version). A version that failed is not asked again for `REST_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._models: dict[Name, LoadedModel] = {}
        self._resting: dict[Name, tuple[str, float]] = {}
        self.refused: dict[Name, str] = {}

    @property
    def loaded(self) -> set[Name]:
        """Names of what can be asked."""
        return set(self._models)

    def put(self, name: Name, model: LoadedModel) -> None:
        """Serve this version from now on."""
        self._models[name] = model
        self._resting.pop(name, None)

    def drop(self, name: Name) -> None:
        """Serve this version no more; its thread ends."""
        model = self._models.pop(name, None)
        if model is not None:
            model.lane.close()

    def rest(self, name: Name, reason: str) -> None:
        """Ask this version no more for a while."""
        self._resting[name] = (reason, self._clock.monotonic_s() + REST_S)

    def find(self, name: Name) -> LoadedModel | None:
        """The model, whatever its state."""
        return self._models.get(name)

    def why_not(self, name: Name) -> str | None:
        """Why a version cannot be asked now, None when it can."""
        if name not in self._models:
            return self.refused.get(name, "not loaded yet")
        reason, until_s = self._resting.get(name, ("", 0.0))
        return f"resting: {reason}" if self._clock.monotonic_s() < until_s else None

    @property
    def resting(self) -> dict[str, str]:
        """Per `deployment/version` why it rests."""
        return {f"{d}/{v}": reason for (d, v), (reason, _) in self._resting.items() if self.is_resting((d, v))}

    def is_resting(self, name: Name) -> bool:
        """Whether a version failed a short while ago."""
        return self._clock.monotonic_s() < self._resting.get(name, ("", 0.0))[1]
