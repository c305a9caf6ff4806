"""serve(): the page of a render folder, until it is interrupted. The work is done by a worker's process, not here."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import logging
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from videoada.config.run import DEFAULT_MODEL
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError
from videoada.files import results_folder
from videoada.rendering.checks import folder_here
from videoada.rendering.queue.queue import RenderQueue
from videoada.rendering.queue.start import start_worker

EVERY = 2.0  # seconds between two looks whether a worker is missing
HOST, PORT = "127.0.0.1", 7860


def serve(
    folder: str | Path, *, host: str = HOST, port: int = PORT, model: str = DEFAULT_MODEL, open_page: bool = False,
    on_message: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Serve the page of the render folder `folder` at `host` and `port` (0: a free one) until Ctrl-C.

    The queue goes on without the page; a worker's process is started where there is work and none is at it. Raises
    ConfigError where the extra `ui` is not installed or nothing can be served there, ModelError for a model that is
    none, OutputError where the folder can't be written to.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'videoada[ui]'")
    folder_here(RunSettings(model=model))
    say = on_message or (lambda text: None)
    path = results_folder(folder)
    with _bound(host, port) as bound, tempfile.TemporaryDirectory(prefix="videoada-ui-") as aside:
        _serve(RenderQueue(path), path, Path(aside), bound, host, model, open_page, say)


def _serve(
    queue: RenderQueue, path: Path, aside: Path, bound: socket.socket, host: str, model: str, open_page: bool,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    import uvicorn

    from videoada.models.sources import find_folder, pipeline_class
    from videoada.ui.application import make_application

    workers = Workers(path)
    application, videos = make_application(
        queue, aside=aside, host=host, model=model, local=is_local(host), after=workers.start
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
    over = threading.Event()

    def look_after() -> None:
        with contextlib.suppress(Exception):  # what can't be done now is said where it is asked for
            workers.start()  # it loads the libraries while the first prompt is written, and so does this server
            with videos.libraries:
                pipeline_class(find_folder(model))
        while not over.wait(EVERY):
            with contextlib.suppress(Exception):  # the next look may find the folder in order
                if videos.active:
                    workers.start()

    def ready() -> None:
        say(f"the page is at {address} (Ctrl-C ends it; the queue goes on)")
        if open_page:
            webbrowser.open(address)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # A browser that is still open is cut off, which uvicorn reports as errors.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    threading.Thread(target=look_after, daemon=True).start()
    config = uvicorn.Config(application, log_level="warning", access_log=False, server_header=False,
                            timeout_graceful_shutdown=1)  # fmt: skip
    try:
        with contextlib.suppress(KeyboardInterrupt):
            Server(config).run(sockets=[bound])
    finally:
        over.set()


class Workers:
    """The workers that this server started, which outlive it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started: list[Any] = []
        self.lock = threading.Lock()

    def start(self) -> None:
        """Start a worker where none is at work."""
        with self.lock:
            self.started = [process for process in self.started if process.poll() is None]  # collects what has ended
            if (process := start_worker(self.path)) is not None:
                self.started.append(process)


def is_local(host: str) -> bool:
    """Whether a server there is seen from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at that address. Raises ConfigError where there can be none."""
    try:
        [(family, *_, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        bound = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ConfigError(f"`host={host[:80]}`: there is no such address here: {error}") from None
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            raise ConfigError(
                f"can't serve at {host}, port {port}: {error.strerror or error}; give another `port`, 0 for a free one"
            ) from None
        yield bound
