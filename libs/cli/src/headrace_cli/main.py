"""The `headrace` command: `headrace NOUN VERB`, with short names for daily commands."""

import contextlib
import errno
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence

import typer
import typer.main

from headrace.errors import HeadraceError, Misconfigured
from headrace.hosting.settings import strangers
from headrace_broker import BrokerError
from headrace_cli.commands import (
    alert,
    config,
    daily,
    dataset,
    decision,
    demo,
    deployment,
    dlq,
    drill,
    explain,
    feature,
    finding,
    model,
    monitor,
    outcome,
    project,
    replay,
    rollout,
    topic,
    training,
)
from headrace_cli.terminal import mistyped
from headrace_cli.terminal.render import harmless

# The output cannot be written because its disk is full or limited: this is no bug.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="headrace",
    help="Run machine-learning models on a Kafka log.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
daily.add_to(app)
demo.add_to(app)
drill.add_to(app)
explain.add_to(app)
app.add_typer(project.app, name="project")
replay.add_to(app)
app.add_typer(deployment.app, name="deployment")
app.add_typer(finding.app, name="finding")
app.add_typer(monitor.app, name="monitor")
app.add_typer(topic.app, name="topic")
app.add_typer(dataset.app, name="dataset")
app.add_typer(feature.app, name="feature")
app.add_typer(decision.app, name="decision")
app.add_typer(outcome.app, name="outcome")
app.add_typer(model.app, name="model")
app.add_typer(rollout.app, name="rollout")
app.add_typer(training.app, name="training")
app.add_typer(alert.app, name="alert")
app.add_typer(dlq.app, name="dlq")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the command that this process was started with."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # NB: `nohup` has the hang-up ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    for chatty in ("aiokafka", "headrace", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)  # the error is printed as one sentence below
    if ignored := strangers():
        _print_error(f"headrace: {ignored}")
    raise SystemExit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run a command and return its exit code. An error is printed as one sentence, with the way out."""
    try:
        # NB: anything else than a number is a function's return value, which is not an exit code.
        code = app(list(words), prog_name="headrace", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        if sentence := mistyped.sentence(error, typer.main.get_command(app), words):
            _print_error(f"headrace: {sentence}")
        return error.exit_code
    except (HeadraceError, BrokerError) as error:
        _print_error(f"headrace: {error}")
        return 2 if isinstance(error, Misconfigured) else 1
    except BrokenPipeError:
        _give_up_output()  # the reader has ended (`| head`)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            _print_error(
                f"headrace: the output could not be written completely: {error.strerror}: make room, or write it elsewhere"
            )
            _give_up_output()
        else:
            _print_error(f"headrace: this is a bug: {type(error).__name__}: {error}{_written_down()}")
        return 1


def _give_up_output() -> None:
    """Discard output that was not written, so that Python does not report it again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(number: int, _: object) -> None:
    """Handle Ctrl-C, a time limit's SIGTERM and a closed terminal: end without a message, but run every `finally`."""
    raise SystemExit(128 + number)


def _written_down() -> str:
    """Write the traceback of the current error to a file; returns a sentence that names the file."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="headrace-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{' '.join(sys.argv)}\n{traceback.format_exc()}")
    except OSError:
        return ""
    return f"; the traceback for a bug report is in {path}"


def _print_error(text: str) -> None:
    with contextlib.suppress(OSError):
        print(harmless(text), file=sys.stderr)


if __name__ == "__main__":
    main()
