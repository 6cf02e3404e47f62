"""The model card of a version, written at its registration from what is known of it: Markdown with YAML front matter.

The sections follow Mitchell et al. 2019, "Model Cards for Model Reporting"; the front matter has the keys that model hubs
read (`tags`, `metrics`, `model-index`). Nothing is made up: what nobody has stated is left out, or named as not stated.
"""

from collections.abc import Mapping, Sequence

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import VersionRegistered
from headrace.log.envelope import format_instant

NOT_STATED = "Not stated."


def write_card(registered: VersionRegistered, deployment: DeploymentDefinition) -> str:
    """The whole card."""
    found = registered
    sections = [
        ("Intended use", deployment.intended_use or NOT_STATED),
        ("Model", _model(found, deployment)),
        ("Training data", _data(found)),
        ("Evaluation", _table(("metric", "value"), [(name, _number(v)) for name, v in sorted(found.metrics.items())])),
        ("Slices of the holdout", _slices(found.slices)),
        ("Gates", _gates(found)),
        ("Waivers", _waivers(found)),
        ("Rows", _columns(found)),
    ]
    title = f"# {found.deployment}, version {found.version}\n"
    body = "\n".join(f"## {heading}\n{text}\n" for heading, text in sections if text)
    return f"{_front_matter(found)}\n{title}\n{body}"


def _front_matter(found: VersionRegistered) -> str:
    tags = ["headrace", found.output, found.place.format, *(f"{k}:{v}" for k, v in sorted(found.tags.items()))]
    lines = ["---", f"model_name: {_quoted(found.model)}", f"version: {found.version}", "tags:"]
    lines += [f"- {_quoted(tag)}" for tag in tags]
    if found.metrics:
        lines += ["metrics:", *(f"- {_quoted(name)}" for name in sorted(found.metrics))]
        lines += ["model-index:", f"- name: {_quoted(found.model)}", "  results:", "  - task:"]
        lines += [f"      type: {_task(found.output)}", "    dataset:", f"      name: {_quoted(found.deployment)}"]
        lines += ["      type: headrace-log", "    metrics:"]
        for name, value in sorted(found.metrics.items()):
            lines += [f"    - type: {_quoted(name)}", f"      value: {value!r}"]
    return "\n".join([*lines, "---", ""])


def _task(output: str) -> str:
    return "tabular-regression" if output == "number" else "tabular-classification"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


def _model(found: VersionRegistered, deployment: DeploymentDefinition) -> str:
    lineage = found.lineage
    rows = [
        ("owner", found.owner or deployment.owner or NOT_STATED),
        ("registered", f"{format_instant(found.registered_at_s)} by {found.by}{_asked_by(found)}"),
        ("why", found.reason or NOT_STATED),
        ("output", found.output + (f" ({', '.join(found.classes)})" if found.classes else "")),
        ("model digest", f"`{found.model_digest}`"),
        ("artifact", f"`{found.place.digest}` ({found.place.format}, {found.place.size_bytes:,} bytes)"),
    ]
    if found.onnx is not None:
        rows.append(("ONNX", f"`{found.onnx.digest}` ({found.onnx.size_bytes:,} bytes)"))
    if lineage.parent is not None:
        rows.append(("trained beside", f"version {lineage.parent}"))
    if lineage.code_version:
        packages = ", ".join(f"{name} {number}" for name, number in sorted(lineage.packages.items()))
        rows += [("code", lineage.code_version), ("packages", packages), ("seed", str(lineage.seed))]
    return _table(("", ""), rows)


def _asked_by(found: VersionRegistered) -> str:
    return f", asked for by {found.asked_by}" if found.asked_by else ""


def _data(found: VersionRegistered) -> str:
    lineage, parts = found.lineage, []
    if found.trained_rows:
        parts.append(f"{found.trained_rows:,} labelled rows.")
    if lineage.request_to_s:
        begin = f"from {format_instant(lineage.request_from_s)} " if lineage.request_from_s else ""
        parts.append(f"Requests {begin}to {format_instant(lineage.request_to_s)}.")
    if lineage.offsets:
        places = ", ".join(f"`{place}` to {offset:,}" for place, offset in sorted(lineage.offsets.items()))
        parts.append(f"Read from the log: {places}.")
    if found.profile:
        names = sorted({name for figures in found.profile.values() for name in figures}, key=_profile_order)
        rows = [(column, *(_number(f.get(name)) for name in names)) for column, f in found.profile.items()]
        parts.append("\n\n" + _table(("column", *names), rows))
    return " ".join(parts) or NOT_STATED


def _profile_order(name: str) -> tuple[int, str]:
    known = ("mean", "std", "min", "max", "null_share")
    return (known.index(name) if name in known else len(known), name)


def _slices(slices: Mapping[str, Mapping[str, float]]) -> str:
    names = sorted({name for figures in slices.values() for name in figures})
    return _table(("slice", *names), [(s, *(_number(f.get(name)) for name in names)) for s, f in slices.items()])


def _gates(found: VersionRegistered) -> str:
    rows = [(g.gate, g.verdict, _number(g.measured), _number(g.limit), g.detail) for g in found.gates]
    return _table(("gate", "verdict", "measured", "limit", "detail"), rows) or "No gate was asked."


def _waivers(found: VersionRegistered) -> str:
    return "\n".join(_cell(f"- {waiver.gate}: waived by {waiver.by}, {waiver.reason}") for waiver in found.waivers)


def _columns(found: VersionRegistered) -> str:
    columns = found.signature.columns
    if not columns:
        return ""
    names = [
        f"`{c.name}`" + ("" if c.vocabulary is None else f" (category, {len(c.vocabulary)} values)") for c in columns
    ]
    return f"{len(columns)} columns, signature `{found.signature.digest}`: {', '.join(names)}."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; "" when there is no row."""
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """One line, without what would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
