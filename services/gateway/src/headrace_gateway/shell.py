"""What an HTTP call does: gather what is known of the deployment, let the core decide, then ask or write, and answer.

No method knows HTTP beyond an admitted request and a `Reply`: parsing, routing and writing bytes are the adapters'.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import partial

from headrace.asking.asker import Asker
from headrace.asking.outcome_writer import Observer
from headrace.asking.prediction import predicted
from headrace.clock import Clock
from headrace.errors import Misconfigured, Retryable
from headrace.events.definition import DeploymentDefinition
from headrace.hosting.health import Health
from headrace_edge.rules.admission import choose_caller, refuse_rate
from headrace_edge.rules.callers import Caller, RateLimits
from headrace_edge.rules.replies import Reply, as_json, error_reply
from headrace_edge.rules.requests import ApiRequest
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.keyed_calls import KeyedCalls
from headrace_gateway.core.admission import DOORS, RETRY_AFTER_S, refuse_rows
from headrace_gateway.core.calls import Asked, Call, Unclear, read_json_length, read_only_ready
from headrace_gateway.core.dialects import Dialect
from headrace_gateway.core.metadata import configuration, index_entries, metadata
from headrace_gateway.core.outcomes import accepted_body, read_outcomes
from headrace_gateway.core.readiness import loaded_on, readiness, why_cannot_ask, why_not_ready, why_unready
from headrace_gateway.core.targets import choose_version, refuse_caller, unknown_deployment
from headrace_gateway.settings import Limits

Path = Mapping[str, str]
Target = tuple[DeploymentDefinition, int | None]


class Api:
    """Everything that can be called over HTTP. `callers`: () lets anyone in. A `path` holds the parameters of a request's path."""

    def __init__(
        self,
        asker: Asker,
        observer: Observer,
        catalogue: Catalogue,
        health: Health,
        clock: Clock,
        limits: Limits,
        callers: Sequence[Caller] = (),
    ) -> None:
        self._asker, self._observer, self._catalogue, self._health = asker, observer, catalogue, health
        self._clock, self._limits, self._callers = clock, limits, tuple(callers)
        self._rates = RateLimits()
        self._keyed = KeyedCalls(limits.remembered_keys)

    def admit(self, path: str, headers: Mapping[bytes, bytes]) -> Caller | Reply:
        """The caller of a request that may be made now, or the refusal. `headers`: by name in lower case."""
        authorization, api_key = headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")
        caller = choose_caller(path, authorization, api_key, self._callers, self._clock.now_s(), DOORS)
        if isinstance(caller, Reply):
            return caller
        return refuse_rate(caller, self._rates, self._clock.monotonic_s()) or caller

    async def predict(self, dialect: Dialect, request: ApiRequest, path: Path) -> Reply:
        """Predictions for the rows of a body. Waits for their answers, by the deadline that the body names."""
        target = await self._target(request, path)
        if isinstance(target, Reply):
            return target
        call = self._call(request, *target)
        if isinstance(call, Unclear):
            return error_reply(400, call.reason)
        asked = dialect.read(request.body, call)
        if isinstance(asked, Unclear):
            return error_reply(400, asked.reason)
        refusal = refuse_rows(len(asked.questions), self._asker.waiting, self._why_cannot_ask(), self._limits)
        if refusal is not None:
            return refusal
        if call.key is None:
            return await self._answer(dialect, asked, call)
        self._keyed.report(self._health)
        # NB: the first row's id names the key: it holds the tenant too. A preview of another version is another call.
        key, body = f"{target[0].name}/{asked.questions[0].request_id}", f"{call.version}\0".encode() + request.body
        return await self._keyed.once(key, body, lambda: self._answer(dialect, asked, call))

    async def observe(self, request: ApiRequest, path: Path) -> Reply:
        """Outcomes of a deployment: 202 once all of them are on the log. Waits for the broker."""
        target = await self._target(request, path)
        if isinstance(target, Reply):
            return target
        deployment, key = target[0], request.header(b"idempotency-key")
        reported = read_outcomes(request.body, deployment, self._clock.now_s(), key, _new_id)
        if isinstance(reported, Unclear):
            return error_reply(400, reported.reason)
        try:
            await self._observer.send(deployment.name, reported.outcomes)
        except (Retryable, Misconfigured) as error:
            return error_reply(503, f"{error}; sent again under the same ids they change nothing", RETRY_AFTER_S)
        return as_json(202, accepted_body(reported))

    async def ready(self, request: ApiRequest, path: Path) -> Reply:
        """Whether the gateway can ask and receive answers."""
        return readiness({}, self._why_unready())

    async def model(self, request: ApiRequest, path: Path) -> Reply:
        """A deployment's inputs and outputs."""
        target = await self._target(request, path)
        if isinstance(target, Reply):
            return target
        return as_json(200, metadata(target[0], self._catalogue.routed(target[0].name), self._catalogue.kind(*target)))

    async def config(self, request: ApiRequest, path: Path) -> Reply:
        """A deployment's inputs and outputs in Triton's words."""
        target = await self._target(request, path)
        return (
            target
            if isinstance(target, Reply)
            else as_json(200, configuration(target[0], self._catalogue.kind(*target)))
        )

    async def model_ready(self, request: ApiRequest, path: Path) -> Reply:
        """Whether a deployment's champion answers; 503 with the reason while a fallback has to."""
        target = await self._target(request, path)
        if isinstance(target, Reply):
            return target
        return readiness({"name": target[0].name}, self._why_unready() or self._why_not_ready(*target))

    async def index(self, request: ApiRequest, path: Path) -> Reply:
        """The deployments that the caller may ask, with their versions."""
        only_ready = read_only_ready(request.body)
        if isinstance(only_ready, Unclear):
            return error_reply(400, only_ready.reason)
        allowed = [found for found in self._catalogue.deployments if request.caller.may_ask(found.name)]
        return as_json(200, [entry for found in allowed for entry in self._entries(found, only_ready=only_ready)])

    async def models(self, request: ApiRequest, path: Path) -> Reply:
        """KServe's V1 list of models: those that the caller may ask."""
        names = [found.name for found in self._catalogue.deployments]
        return as_json(200, {"models": [name for name in names if request.caller.may_ask(name)]})

    async def _target(self, request: ApiRequest, path: Path) -> Target | Reply:
        """The deployment that a path names, and the version of a preview."""
        name = path["deployment"]
        # NB: before it is looked for: a caller who may not ask need not know what there is.
        refusal = refuse_caller(request.caller, name)
        if refusal is not None:
            return refusal
        found = await self._catalogue.find(name)
        if found is None:
            return unknown_deployment(name)
        preview = choose_version(name, path.get("version"), self._catalogue.routed(name))
        return preview if isinstance(preview, Reply) else (found, preview)

    def _call(self, request: ApiRequest, deployment: DeploymentDefinition, preview: int | None) -> Call | Unclear:
        json_bytes = read_json_length(request.headers.get(b"inference-header-content-length"))
        if isinstance(json_bytes, Unclear):
            return json_bytes
        key, traceparent = request.header(b"idempotency-key"), request.header(b"traceparent")
        tenant, now_s = request.caller.tenant or None, self._clock.now_s()
        return Call(deployment, self._limits, now_s, _new_id, key, json_bytes, preview, tenant, traceparent)

    async def _answer(self, dialect: Dialect, asked: Asked, call: Call) -> Reply:
        try:
            answers = await self._asker.ask(asked.questions, asked.deadline_ms)
        except Retryable as error:
            return error_reply(503, str(error), RETRY_AFTER_S)
        name, kind_of = call.deployment.name, partial(self._catalogue.kind, call.deployment)
        predictions = [
            predicted(name, question.request_id, answered, kind_of, asked.deadline_ms)
            for question, answered in zip(asked.questions, answers, strict=True)
        ]
        return dialect.write(asked, predictions)

    def _entries(self, deployment: DeploymentDefinition, *, only_ready: bool) -> list[dict[str, str]]:
        name, catalogue = deployment.name, self._catalogue
        why, loaded = self._why_not_ready(deployment), loaded_on(catalogue.living(), name)
        return index_entries(
            name, catalogue.routed(name), catalogue.registered(name), loaded, why, only_ready=only_ready
        )

    def _why_not_ready(self, deployment: DeploymentDefinition, preview: int | None = None) -> str | None:
        return why_not_ready(deployment, self._catalogue.route(deployment.name), self._catalogue.living(), preview)

    def _why_cannot_ask(self) -> str | None:
        return why_cannot_ask(self._asker.is_ready, self._asker.trouble)

    def _why_unready(self) -> str | None:
        return why_unready(self._why_cannot_ask(), self._health.is_ready, self._health.failures.values())


def _new_id() -> str:
    return secrets.token_hex(16)
