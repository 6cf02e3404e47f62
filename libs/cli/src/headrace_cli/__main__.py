"""The `headrace` command from its first moment on, and `python -m headrace_cli`."""

import os
import signal


def run() -> None:
    """Ctrl-C is heeded before anything heavy is imported: nothing is begun by then, so the process just ends."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from headrace_cli.main import main

    main()


if __name__ == "__main__":
    run()
