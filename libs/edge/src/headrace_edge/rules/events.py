"""Server-sent events as bytes (WHATWG HTML, 9.2: "Server-sent events")."""

# Nothing is compressed or kept back on the way: a page is to see an event at once.
EVENT_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


def event_bytes(data: bytes, name: str = "", ident: str = "") -> bytes:
    """One event. `ident`: what the client sends back as `Last-Event-ID` when it connects again.

    >>> event_bytes(b'{"a":1}', "delta", "7")
    b'id: 7\\nevent: delta\\ndata: {"a":1}\\n\\n'
    >>> event_bytes(b"two\\nlines")
    b'data: two\\ndata: lines\\n\\n'
    """
    head = (f"id: {ident}\n" if ident else "") + (f"event: {name}\n" if name else "")
    return head.encode() + b"".join(b"data: %s\n" % line for line in data.splitlines() or [b""]) + b"\n"
