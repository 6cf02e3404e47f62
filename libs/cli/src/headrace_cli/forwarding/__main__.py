"""The process that forwards alerts, as the supervisor starts it."""

from headrace_cli.forwarding.app import main

if __name__ == "__main__":
    raise SystemExit(main())
