"""The `headrace` command from its first moment on, and `python -m headrace_cli`."""

import os
import signal
import sys


def run() -> None:
    """Ctrl-C is heeded before anything heavy is imported: nothing is begun by then, so the process just ends."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    _open_closed()
    from headrace_cli.main import main

    main()


def _open_closed() -> None:
    """An input or output that was closed (`<&-`, as some launchers do) reads nothing and takes everything; left closed, the next
    file that is opened would be taken for it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # NB: the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


if __name__ == "__main__":
    # NB: `python -m` looks where it stands first: a file there (queue.py) is not what we import by that name.
    if sys.path[0] == os.getcwd():
        del sys.path[0]
    run()
