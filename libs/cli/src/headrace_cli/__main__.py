"""The `headrace` command from its first moment on, and `python -m headrace_cli`."""

import os
import signal
import sys


def run() -> None:
    """Ctrl-C is heeded before anything heavy is imported: nothing is begun by then, so the process just ends."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the end
    if sys.stdout is None:
        # NB: before anything is done: the next file or socket that is opened would be what is printed to.
        print("headrace: standard output is closed: send it to a file, or to /dev/null", file=sys.stderr)
        os._exit(1)
    from headrace_cli.main import main

    main()


if __name__ == "__main__":
    # NB: `python -m` looks where it stands first: a file there (queue.py) is not what we import by that name.
    if sys.path[0] == os.getcwd():
        del sys.path[0]
    run()
