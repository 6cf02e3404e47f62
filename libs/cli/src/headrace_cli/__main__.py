"""The entry point of the `headrace` command and of `python -m headrace_cli`."""

import os
import signal
import sys


def run() -> None:
    """Run the command. Ctrl-C works even before the heavy imports: nothing has started by then, so the process just ends."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    _open_closed()
    from headrace_cli.main import main

    main()


def _open_closed() -> None:
    """Open a closed standard input or output (`<&-`, as some launchers do) on the null device. Otherwise the next file that
    is opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # NB: `open` takes the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


if __name__ == "__main__":
    # NB: `python -m` searches the current folder first: a file there (queue.py) must not replace a module of that name.
    if sys.path[0] == os.getcwd():
        del sys.path[0]
    run()
