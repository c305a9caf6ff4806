"""What a request must be to get an answer: for this server by its name, from its own pages, small, and for the page.

A page elsewhere can make a browser send requests to 127.0.0.1, also under a name of its own that it lets point here
(DNS rebinding). Such requests carry that page's Origin, or that name as Host.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

MOST_BYTES = 2**20  # of a request's body, but for uploads
SAFE = ("GET", "HEAD")
# Gradio's routes that the page needs; the others read files, take uploads of any size or fetch from elsewhere.
GRADIO = (
    "startup-events",
    "run/predict",
    "queue/join",
    "queue/data",
    "heartbeat/",
    "theme.css",
    "info",
    "cancel",
    "reset",
)
GRADIO_PAGE = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
GRADIO_FILES = ("/assets/", "/static/")
HEADERS = {
    # Gradio's page has inline scripts. Whatever it holds, a browser asks nothing of other machines for it.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' "
    "data: blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware; `host` is the name or address that the server was given, `own` its paths that are not Gradio's
    and the bytes that a body sent there may have."""

    def __init__(self, app: Any, host: str, own: dict[str, int]) -> None:
        self.app, self.own = app, own
        self.names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        refused = self.refuses(scope.get("method", "GET"), scope["path"], headers)
        if scope["type"] != "http" or refused:
            await _answer(send, *(refused or (404, "not found")))
            return
        most = self._most_bytes(scope["path"])
        taken = 0

        async def bounded() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= most else {"type": "http.disconnect"}

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = message | {"headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self.app(scope, bounded, with_headers)

    def refuses(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the reason of a request that is not answered; None for one that is."""
        if not self._known_host(headers.get("host", "")):
            return 403, "this server is not known by that name; open it by its address"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
            return 403, "a page of another server asks for this"
        if method not in SAFE and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "a page of another server asks for this"
        if not self._known_path(path):
            return 404, "not found"
        length, most = headers.get("content-length", "0"), self._most_bytes(path)
        if not length.isdecimal() or int(length) > most:
            return 413, f"a body of more than {most} bytes is not read"
        return None

    def _known_host(self, host: str) -> bool:
        """An address, which no server elsewhere can have as its name, or a name of this machine."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _known_path(self, path: str) -> bool:
        if path in GRADIO_PAGE or path.startswith((*GRADIO_FILES, *self.own)):
            return True
        inside = path.removeprefix("/gradio_api/")
        return inside != path and inside.startswith(GRADIO)

    def _most_bytes(self, path: str) -> int:
        return next((most for begin, most in self.own.items() if path.startswith(begin)), MOST_BYTES)


async def _answer(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
