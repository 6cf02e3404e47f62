"""`headrace training list`: runs by their facts, with details from their folder on this machine."""

from pathlib import Path

import msgspec
import pytest

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.events.training import RetrainAccepted, RetrainRefused, TrainingFinished, TrainingProgressed
from headrace.hosting.runs import Progress, RunFolder
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project, Training, not_worse_than_champion
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.commands.training import _row, refuse, runs_of, stop
from headrace_cli.session import Session


def build(signature: object) -> None:
    """Never called."""


def facts(*events: msgspec.Struct) -> list[Message]:
    return [
        Message(Record("t", 0, n, b"d", b""), Envelope(f"{n}", "", "t", 0.0), event) for n, event in enumerate(events)
    ]


def accepted(run: str) -> RetrainAccepted:
    return RetrainAccepted("d", run, f"q-{run}", "drift", "because", 0.0)


def test_each_run_is_listed_once_with_its_newest_state() -> None:
    found = runs_of(
        facts(
            accepted("one"), RetrainRefused("d", "q", "no"), TrainingProgressed("d", "one", "rows", 0.1), accepted("two"),
            TrainingFinished("d", "one", "failed", "build() failed"), TrainingProgressed("d", "stranger", "fit", 0.5),
        )
    )  # fmt: skip
    assert [(one.accepted.run, one.stage, one.detail) for one in found] == [
        ("one", "failed", "build() failed"),
        ("two", "waits", ""),
    ]


def test_a_run_on_this_machine_is_shown_with_its_current_state_process_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    (run,) = runs_of(facts(accepted("one"), TrainingProgressed("d", "one", "rows", 0.1)))
    assert (_row(run)["pid"], _row(run)["log"]) == (None, None)
    folder = RunFolder(tmp_path / "runs" / "default" / "one")
    folder.write_order(run.accepted)
    folder.log.touch()
    folder.write_progress(Progress("rows", 0.125, "312,000 of 1,040,000 records", 77))
    assert (_row(run)["pid"], _row(run)["detail"]) == (None, "")
    lock = folder.hold()
    assert lock is not None
    row = _row(run)
    assert (row["pid"], row["detail"], row["share"]) == (77, "312,000 of 1,040,000 records", 0.12)
    assert row["log"] == str(folder.log)


def test_a_run_that_has_ended_is_not_stopped_and_its_outcome_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    folder = RunFolder(tmp_path / "runs" / "default" / "one")
    folder.write_order(accepted("one"))
    folder.append(TrainingFinished("d", "one", "failed", "build() failed"))
    with pytest.raises(Misconfigured, match="run one has ended already: failed"):
        stop("one")
    assert folder.stop_asked() is None


def test_a_run_that_is_not_here_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    with pytest.raises(Misconfigured, match="there is no run 'nope' on this machine"):
        stop("nope")


@pytest.fixture
async def session(memory_log: MemoryLog, clock: ManualClock) -> Session:
    """A log on which a project with a deployment that trains, `d`, and one that does not, `still`, is applied."""
    topics = Topics.load()
    codec = Codec(topics)
    trained = Deployment(
        "d", "u", [Number("x")], label=Binary("y", "1h"), training=Training(build), gates=[not_worse_than_champion()]
    )
    still = Deployment("still", "u", [Number("x")], label=Binary("y", "1h"))
    project = compile_project(Project("p", [trained, still]))
    await ensure_topics(memory_log, topics.specs(project))
    applied = ProjectApplied("p", digest_of(project), "", project, 0.0)
    memory_log.append(out(topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0)))
    projects = Projects(memory_log, codec, topics)
    await projects.start()
    return Session(memory_log, topics, codec, projects, clock)  # type: ignore[arg-type]  # a log in memory


async def test_what_the_trainer_would_refuse_or_ignore_is_refused_at_once_with_the_way_out(session: Session) -> None:
    with pytest.raises(
        Misconfigured, match=r"still declares no training: add training=Training\(build\) and apply it again"
    ):
        refuse(session, "still", ())
    with pytest.raises(Misconfigured, match="no applied project declares 'nope'"):
        refuse(session, "nope", ())
    said = (
        "no gate 'nogate', 'onnx_parity' keeps a version of d away: --waive takes not_worse_than_champion, beats_prior"
    )
    with pytest.raises(Misconfigured, match=said):
        refuse(session, "d", ["beats_prior", "nogate", "onnx_parity"])
    refuse(session, "d", ["beats_prior", "not_worse_than_champion"])
