"""A script before all others of the page: what Gradio is given as `head` comes after its own."""

from __future__ import annotations

from typing import Any

SCRIPT = b'<script src="own/frames.js"></script>'


class FirstScript:
    """ASGI middleware that puts `SCRIPT` at the beginning of the page's head."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def insert(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts).replace(b"<head>", b"<head>" + SCRIPT, 1)
            headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
            await send(start | {"headers": [*headers, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await self.app(scope | {"headers": plain}, receive, insert)
