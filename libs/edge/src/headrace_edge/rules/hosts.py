"""By which names a service may be called (`Host`). Against DNS rebinding: a page of another site, whose name suddenly leads to this
machine, would count as one of ours for the browser; but its calls still have the other site's name in `Host`.
"""

import ipaddress

from headrace_edge.rules.replies import Reply, error_reply

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def read_hosts(bound: str, text: str) -> tuple[str, ...]:
    """The names that are taken; () for any. `bound`: the address of the socket. `text`: further names, comma-separated.

    Where the socket is on loopback the names are checked always, elsewhere only if any are given.

    >>> read_hosts("127.0.0.1", "console.example.org")
    ('localhost', '127.0.0.1', '[::1]', 'console.example.org')
    >>> read_hosts("0.0.0.0", "")
    ()
    """
    named = [name_of(part.strip()) for part in text.split(",") if part.strip()]
    is_local = _is_loopback(bound)
    if not named and not is_local:
        return ()
    own = [f"[{bound}]" if ":" in bound else bound.lower()] if is_local else []
    return tuple(dict.fromkeys([*LOOPBACK_NAMES, *own, *named]))


def refuse_host(host: bytes, hosts: tuple[str, ...], setting: str) -> Reply | None:
    """The 421 for a call by another name; None where it is taken. `hosts`: of `read_hosts`; `setting`: which names more."""
    if not hosts or name_of(host.decode("latin-1")) in hosts:
        return None
    return error_reply(421, f"this service is not called by this name: open it as localhost, or set {setting}")


def name_of(host: str) -> str:
    """A host without its port and its last dot, in lower case.

    >>> name_of("LocalHost:8090"), name_of("[::1]:8090"), name_of("h.")
    ('localhost', '[::1]', 'h')
    """
    head, colon, port = host.strip().lower().rpartition(":")
    is_port = colon and port.isascii() and port.isdigit() and not (":" in head and not head.endswith("]"))
    return (head if is_port else host.strip().lower()).removesuffix(".")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
