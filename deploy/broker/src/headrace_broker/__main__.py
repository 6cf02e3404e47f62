"""`python -m headrace_broker --data DIR --port N`: the broker in the foreground; ends with this process."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from headrace_broker.broker import Broker
from headrace_broker.errors import BrokerError


def main() -> int:
    """Run until a signal comes (0) or the broker ends (1)."""
    parser = argparse.ArgumentParser(description="A local Apache Kafka in KRaft mode.")
    parser.add_argument("--data", type=Path, required=True, help="folder for log and configuration, kept between runs")
    parser.add_argument("--port", type=int, default=19092, help="port on 127.0.0.1")
    parser.add_argument("--fresh", action="store_true", help="empty the folder first")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    broker = Broker(arguments.data, arguments.port, fresh=arguments.fresh)
    try:
        broker.start()
    except BrokerError as error:
        print(f"broker: {error}", file=sys.stderr)
        return 1
    print(f"broker: ready on {broker.bootstrap_servers}", flush=True)
    while broker.is_alive and not stop.wait(0.2):
        pass
    died = not broker.is_alive
    broker.stop()
    return int(died)


if __name__ == "__main__":
    raise SystemExit(main())
