"""Compares a model's file with a deployment before anything is published: columns, words, classes and outputs. Differences are refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.errors import Misconfigured, Poison
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.registry import Signature
from headrace.features.rows import pin_signature
from headrace.models.encoders import Known, known_to, refuse_texts, wants_names
from headrace.models.engine import Engine, Vocabularies
from headrace.models.lightgbm_format import LightgbmEngine
from headrace.models.matching import model_names, why_not_columns
from headrace.models.skops_format import SkopsEngine
from headrace_cli.models.answers import Answers, agreed_answers
from headrace_cli.models.samples import Requests
from headrace_cli.models.vocabularies import agreed_words


@dataclass(frozen=True)
class Declared:
    """The user's options for a file. `words`: of `--categories`, None if not given. `classes`: in the model's order."""

    words: Vocabularies | None = None
    output: str | None = None
    classes: tuple[str, ...] = ()
    inputs_only: bool = False
    frame: bool = False
    requests: Requests = field(default_factory=Requests)


@dataclass(frozen=True)
class Agreed:
    """The signature and answers to register. `notes`: messages for the user."""

    signature: Signature
    answers: Answers
    notes: tuple[str, ...]


def agree(engine: Engine, project: ProjectDefinition, deployment: DeploymentDefinition, declared: Declared) -> Agreed:
    """The signature and the answers of a version. Raises `Misconfigured` with the reason and the way out."""
    bare = pin_signature(project, deployment, {}, inputs_only=declared.inputs_only)
    if (reason := why_not_columns(engine, bare, deployment.name)) is not None:
        raise Misconfigured(reason)
    try:
        known = _known(engine, bare)
    except Poison as poison:
        raise Misconfigured(poison.reason) from None
    categories = [found.name for found in deployment.inputs if found.kind == "category"]
    needs_frame = isinstance(engine, SkopsEngine) and (wants_names(engine.estimator) or bool(known.vocabularies))
    _refuse_frame(engine, declared)
    is_frame = declared.frame or needs_frame
    _refuse_kinds(known, categories, deployment, is_frame=is_frame)
    sampled = declared.requests.words(categories)
    words = agreed_words(categories, known.vocabularies, declared.words, sampled, is_frame=is_frame)
    if not is_frame:
        _refuse_codes(known, words)
    answers = agreed_answers(engine, deployment.label, declared.output, declared.classes)
    signature = pin_signature(project, deployment, words, inputs_only=declared.inputs_only, frame=is_frame)
    notes = (
        *_columns_note(engine, signature, deployment.name),
        *_frame_note(declared, needs_frame),
        *engine.notes,
        *answers.notes,
        *_sample_notes(words, sampled),
    )
    return Agreed(signature, answers, notes)


def _known(engine: Engine, signature: Signature) -> Known:
    """The words in the file, by the names of the row's columns."""
    names = model_names(engine.names, signature) or tuple(column.name for column in signature.columns)
    if not isinstance(engine, SkopsEngine):
        codes = dict(zip(names, engine.codes, strict=False)) if isinstance(engine, LightgbmEngine) else {}
        words = {model_names([name], signature)[0]: found for name, found in engine.vocabularies.items()}
        return Known(words, {name: found for name, found in codes.items() if found and name not in words})
    refuse_texts(engine.estimator)
    return known_to(engine.estimator, names)


def _refuse_kinds(known: Known, categories: Sequence[str], deployment: DeploymentDefinition, *, is_frame: bool) -> None:
    for name in known.vocabularies:
        if name not in categories:
            raise Misconfigured(
                f"{name} is a category to the model ({', '.join(known.vocabularies[name][:8])}): declare it as Category({name!r})"
            )
    for name in categories:
        if is_frame and name in known.numbers:  # in a matrix they are the codes
            raise Misconfigured(
                f"the model's encoder knows numbers in {name!r}, which {deployment.name} declares as a Category, a text:"
                f" declare it as Number({name!r})"
            )


def _refuse_codes(known: Known, words: Vocabularies) -> None:
    """In a matrix, words are codes from 0 on. A code that the model knows and no word has could never occur, so it is refused."""
    for name, found in words.items():
        codes = known.numbers.get(name, ())
        strange = [code for code in codes if code % 1 or not 0 <= code < len(found)]
        if strange and name not in known.vocabularies:
            from_one = ", which begin with 1: fit it on codes from 0 on" if codes[0] == 1 else ""
            raise Misconfigured(
                f"the model knows {len(codes)} codes of {name!r} ({_listed(codes)}){from_one}, and --categories gives it"
                f" {len(found)} words, the codes 0 to {len(found) - 1}: one word per code, in code order"
            )


def _listed(codes: Sequence[float]) -> str:
    return f"{codes[0]:g} to {codes[-1]:g}" if len(codes) > 1 else f"{codes[0]:g}"


def _sample_notes(words: Vocabularies, sampled: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Notes on values of a sample that the model does not know; they may be spelled differently."""
    strange = {name: sorted(found - set(words[name])) for name, found in sampled.items() if name in words}
    return tuple(
        f"of the sample's values of {name!r} the model does not know {', '.join(map(repr, found[:8]))}{', ...' if len(found) > 8 else ''}"
        for name, found in strange.items()
        if found
    )


def _refuse_frame(engine: Engine, declared: Declared) -> None:
    if declared.frame and not isinstance(engine, SkopsEngine):
        raise Misconfigured("--frame is for scikit-learn pipelines (.skops): other formats take a matrix")


def _columns_note(engine: Engine, signature: Signature, deployment: str) -> tuple[str, ...]:
    names = tuple(column.name for column in signature.columns)
    if not engine.names:
        return (
            f"its file has no column names: columns are taken by position ({', '.join(names[:12])}{', ...' if len(names) > 12 else ''})",
        )
    if model_names(engine.names, signature) != names:
        return (f"its columns are in another order than those of {deployment}: they are matched by name",)
    return ()


def _frame_note(declared: Declared, needs_frame: bool) -> tuple[str, ...]:
    if declared.frame or not needs_frame:
        return ()
    return ("it takes a frame with names and words, which is about a hundred times slower than a matrix (--frame)",)
