"""The `headrace` command: `headrace NOUN VERB`, with short words for the daily ones."""

import logging
import sys

import typer

from headrace.errors import HeadraceError, Misconfigured
from headrace_broker import BrokerError
from headrace_cli.commands import (
    alert,
    config,
    daily,
    dataset,
    demo,
    dlq,
    drill,
    explain,
    feature,
    model,
    rollout,
    topic,
    training,
)

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
app.add_typer(topic.app, name="topic")
app.add_typer(dataset.app, name="dataset")
app.add_typer(feature.app, name="feature")
app.add_typer(model.app, name="model")
app.add_typer(rollout.app, name="rollout")
app.add_typer(training.app, name="training")
app.add_typer(alert.app, name="alert")
app.add_typer(dlq.app, name="dlq")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run a command; what goes wrong is one sentence, with the way out."""
    for chatty in ("aiokafka", "headrace"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)  # what matters comes back as one sentence below
    try:
        app()
    except (HeadraceError, BrokerError) as error:
        print(f"headrace: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, Misconfigured) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
