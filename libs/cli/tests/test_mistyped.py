"""Whatever is wrong with a command line is one sentence on stderr, with the way out, and exit code 2; for every command."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer.main
from typer.core import TyperGroup

from headrace_cli.main import app, run
from headrace_cli.terminal import reasons


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command and group, the top level first."""
    waiting = [((), typer.main.get_command(app))]
    for words, command in waiting:
        yield words
        if isinstance(command, TyperGroup):
            waiting += [((*words, name), found) for name, found in command.commands.items()]


def message(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The message of a mistyped command line: nothing on stdout, one line on stderr, and exit code 2."""
    assert run(words) == 2
    expected = capsys.readouterr()
    assert expected.out == ""
    assert expected.err.startswith("headrace: ")
    assert expected.err.count("\n") == 1
    return expected.err.removeprefix("headrace: ").rstrip("\n")


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_an_option_that_is_not_there_is_one_sentence_of_the_command_that_was_meant(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    expected = message(capsys, *words, "--no-such-option")
    assert expected.startswith("no such option: --no-such-option")
    assert f"`{' '.join(('headrace', *words))} -h` " in expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "model show",
            "missing argument 'deployment'; usage: `headrace model show [OPTIONS] {deployment} {version}`;"
            " `headrace model show -h` shows its help",
        ),
        ("model show d 1 2 3", "got unexpected extra argument(s) (2 3); usage: `headrace model show "),
        ("rollot", "no such command 'rollot'. Did you mean 'rollout'? `headrace -h` lists the commands"),
        ("topic nope", "no such command 'nope'; `headrace topic -h` lists the commands"),
        ("up --prot 3", "no such option: --prot (Possible options: --port); usage: `headrace up [OPTIONS]`"),
        ("up --port", "option '--port' requires an argument; `headrace up -h` shows its help"),
        (
            "up --port x",
            "invalid value for '--port': Input should be a valid integer, unable to parse string as an integer, got 'x'; ",
        ),
    ],
)
def test_a_mistyped_command_is_explained_with_its_usage(
    capsys: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    assert message(capsys, *line.split()).startswith(expected)


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
def test_a_number_out_of_bounds_is_refused_with_the_bounds_or_the_type(
    capsys: pytest.CaptureFixture[str], line: str
) -> None:
    expected = message(capsys, *line.split())
    assert expected.startswith("invalid value for '")
    assert len(expected) < 600


@pytest.mark.parametrize("word", ["x" * 100_000, "a\nb\rc", "\x1b[31mred", "é" * 5000, ""])
def test_a_very_long_word_gives_a_short_message(capsys: pytest.CaptureFixture[str], word: str) -> None:
    for words in ((word,), ("topic", word), ("up", f"--{word}x")):
        expected = message(capsys, *words)
        assert len(expected) < 500
        assert expected.isprintable()


def test_help_is_no_mistake_and_a_group_without_a_verb_shows_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "show", "-h"]) == 0
    assert run(["model"]) == 2
    expected = capsys.readouterr()
    assert "Show one version in full" in expected.out
    assert expected.err == ""


@pytest.mark.parametrize(
    "line",
    [
        "training request d", "rollout pause d", "rollout abort d", "rollout rollback d", "model approve d 1", "topic skip raw.x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("reason", ["", "  "])
def test_an_empty_reason_is_refused(capsys: pytest.CaptureFixture[str], line: str, reason: str) -> None:
    expected = message(capsys, *line.split(), "--reason", reason)
    assert expected.startswith("invalid value for '--reason': a reason must not be empty")


def test_the_default_reasons_are_accepted() -> None:
    """A default goes through the same check as what is typed."""
    waiting, defaults = [typer.main.get_command(app)], list[str]()
    for command in waiting:
        waiting += command.commands.values() if isinstance(command, TyperGroup) else ()
        defaults += [one.default for one in command.params if one.name == "reason" and one.default is not None]
    assert len(defaults) >= 8
    assert [reasons.checked_reason(text) for text in defaults] == defaults


def test_a_reason_that_the_trainer_would_not_take_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    expected = message(capsys, "training", "request", "d", "--reason", "x" * 4_001)
    assert expected.startswith("invalid value for '--reason': a reason may have 4,000 characters at most, got 4,001")
