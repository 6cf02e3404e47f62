"""A version: its row, and its page with card, gates, lineage and slices."""

import msgspec

from headrace.events.definition import DeploymentDefinition
from headrace.registry.state import Entry
from headrace_console.core.acts import rollout_offers
from headrace_console.core.documents import Column, GateRow, Version, VersionRow
from headrace_console.core.releases import Story


def row_of(entry: Entry, story: Story, version: int) -> VersionRow:
    """A version in a list."""
    found = entry.versions[version]
    reason, by = story.reasons.get(version, (found.reason, found.by))
    aliases = tuple(sorted(alias for alias, named in entry.aliases.items() if named == version))
    return VersionRow(
        version,
        entry.stages.get(version, "registered"),
        aliases,
        found.registered_at_s,
        found.trained_rows,
        dict(sorted(found.metrics.items(), key=lambda one: (not one[0].startswith("holdout_"), one[0]))),
        {gate.gate: gate.verdict for gate in found.gates},
        reason,
        by or found.by,
        entry.approvals.get(version, ""),
        tuple(sorted({waiver.gate for waiver in found.waivers})),
    )


def document(
    deployment: str, version: int, entry: Entry, story: Story, definition: DeploymentDefinition | None
) -> Version | None:
    """The document `version/NAME/NUMBER`; None where it was never registered."""
    found = entry.versions.get(version)
    if found is None:
        return None
    waived = {waiver.gate: f"{waiver.by}: {waiver.reason}" for waiver in found.waivers}
    gates = {
        gate.gate: GateRow(
            gate.gate, gate.verdict, gate.measured, gate.limit, gate.artifact, gate.detail, waived.get(gate.gate, "")
        )
        for gate in found.gates
    }
    offers = [offer for offer in rollout_offers(deployment, entry, definition) if offer.version == version]
    return Version(
        row_of(entry, story, version),
        deployment,
        found.model_digest,
        found.place.digest,
        found.place.size_bytes,
        found.place.format,
        story.cards.get(version, ""),
        gates,
        msgspec.to_builtins(found.lineage, str_keys=True),
        found.slices,
        tuple(
            Column(column.name, None if column.vocabulary is None else len(column.vocabulary))
            for column in found.signature.columns
        ),
        dict(entry.tags.get(version, {})),
        story.versions.get(version, ""),
        found.owner,
        tuple(offers),
    )
