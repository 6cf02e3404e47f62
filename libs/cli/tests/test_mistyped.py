"""Whatever is wrong with a command line is one sentence on stderr, with the way out, and exit code 2; for every command."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer.main
from typer.core import TyperGroup

from headrace_cli.main import app, run
from headrace_cli.terminal import reasons


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command and group there is, the whole of it first."""
    waiting = [((), typer.main.get_command(app))]
    for words, command in waiting:
        yield words
        if isinstance(command, TyperGroup):
            waiting += [((*words, name), found) for name, found in command.commands.items()]


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a mistyped command line says: nothing on stdout, one line on stderr, and exit code 2."""
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("headrace: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("headrace: ").rstrip("\n")


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_an_option_that_is_not_there_is_one_sentence_of_the_command_that_was_meant(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    said = told(capsys, *words, "--no-such-option")
    assert said.startswith("no such option: --no-such-option")
    assert f"`{' '.join(('headrace', *words))} -h` " in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "model show",
            "missing argument 'deployment'; it goes `headrace model show [OPTIONS] {deployment} {version}`,"
            " and `headrace model show -h` tells more",
        ),
        ("model show d 1 2 3", "got unexpected extra argument(s) (2 3); it goes `headrace model show "),
        ("rollot", "no such command 'rollot'. Did you mean 'rollout'? `headrace -h` shows what there is"),
        ("topic nope", "no such command 'nope'; `headrace topic -h` shows what there is"),
        ("up --prot 3", "no such option: --prot (Possible options: --port); it goes `headrace up [OPTIONS]`"),
        ("up --port", "option '--port' requires an argument; `headrace up -h` tells more"),
        (
            "up --port x",
            "invalid value for '--port': Input should be a valid integer, unable to parse string as an integer, got 'x'; ",
        ),
    ],
)
def test_what_is_wrong_is_said_with_how_it_goes(capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    assert told(capsys, *line.split()).startswith(said)


def test_every_number_has_bounds() -> None:
    """A port of 99999999999 ended the supervisor with a traceback in its log; `topic tail -n 0` printed some records."""
    tree, unbounded, count = typer.main.get_command(app), [], 0
    for words in commands():
        command: Any = tree
        for word in words:
            command = command.commands[word]
        for parameter in command.params:
            if {int, float} & {parameter.type_descriptor.annotation, *get_args(parameter.type_descriptor.annotation)}:
                count += 1
                if parameter.min is None or parameter.max is None:
                    unbounded.append((words, parameter.name))
    assert (count > 8, unbounded) == (True, [])


@pytest.mark.parametrize(
    "line",
    ["up --port 99999999999", "up --port 0", "up --port nan", "topic tail x -n 0", "topic tail x -n -5", "topic skip x --to -1",
     "topic skip x --partition 4294967296", "topic skip x --to 9223372036854775808", "model alias d a -- -1",
     "model card d 99999999999", "rollout start d x", "training list --limit 0", "drill --seconds nan", "drill --seconds inf",
     "drill --seconds -1", "up --port " + "9" * 5000],
)  # fmt: skip
def test_a_number_out_of_bounds_is_told_with_the_bounds_or_the_type(
    capsys: pytest.CaptureFixture[str], line: str
) -> None:
    said = told(capsys, *line.split())
    assert said.startswith("invalid value for '")
    assert len(said) < 600


@pytest.mark.parametrize("word", ["x" * 100_000, "a\nb\rc", "\x1b[31mred", "é" * 5000, ""])
def test_a_word_that_nobody_means_is_a_short_line_all_the_same(capsys: pytest.CaptureFixture[str], word: str) -> None:
    for words in ((word,), ("topic", word), ("up", f"--{word}x")):
        said = told(capsys, *words)
        assert len(said) < 500
        assert said.isprintable()


def test_help_is_no_mistake_and_a_group_without_a_verb_shows_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "show", "-h"]) == 0
    assert run(["model"]) == 2
    said = capsys.readouterr()
    assert "Show one version whole" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    "line",
    [
        "training request d", "rollout pause d", "rollout abort d", "rollout rollback d", "model approve d 1", "topic skip raw.x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_that_says_nothing_is_refused(capsys: pytest.CaptureFixture[str], line: str, reason: str) -> None:
    said = told(capsys, *line.split(), "--reason", reason)
    assert said.startswith("invalid value for '--reason': a reason must say something")


def test_a_reason_that_is_given_where_nobody_gave_one_is_taken() -> None:
    """A default goes through the same check as what is typed."""
    waiting, defaults = [typer.main.get_command(app)], list[str]()
    for command in waiting:
        waiting += command.commands.values() if isinstance(command, TyperGroup) else ()
        defaults += [one.default for one in command.params if one.name == "reason" and one.default is not None]
    assert len(defaults) >= 8
    assert [reasons.checked_reason(text) for text in defaults] == defaults


def test_a_reason_that_the_trainer_would_not_take_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "training", "request", "d", "--reason", "x" * 4_001)
    assert said.startswith("invalid value for '--reason': a reason may have 4,000 characters at most, got 4,001")
