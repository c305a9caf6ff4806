"""The application: our routes, with Gradio's page mounted beside them, behind the guard."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videoada.rendering.queue.queue import RenderQueue
from videoada.ui.uploads import Uploads
from videoada.ui.videos import Videos

# Before Gradio is imported: no statistics, no question for a newer version, nothing kept of what was entered.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False",
         "GRADIO_MCP_SERVER": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
HEAD = (
    '<link rel="stylesheet" href="own/page.css"><script type="module" src="own/page.js"></script>'
    '<meta name="color-scheme" content="light dark">'
)


def make_application(
    queue: RenderQueue, *, aside: Path, host: str, model: str, local: bool, after: Callable[[], None]
) -> tuple[Any, Videos]:
    """The ASGI application of a queue's page, and what it shows. Uploads lie in the folder `aside`; `local` says
    whether only this machine can ask, `after` is called when the queue has work to do."""
    os.environ.update(QUIET)
    import gradio
    from fastapi import FastAPI

    from videoada.ui.first_script import FirstScript
    from videoada.ui.guard import Guard
    from videoada.ui.page import make_page
    from videoada.ui.routes import OWN, make_router

    uploads = Uploads(aside)
    videos = Videos(queue)
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.include_router(make_router(queue, videos, uploads, after))
    page = make_page(queue, videos, uploads, model=model, local=local, after=after)
    # The system's own: others would be fetched.
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    theme = gradio.themes.Default(**fonts).set(  # Gradio's own is too faint to be read with ease
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
    )  # fmt: skip
    gradio.mount_gradio_app(
        application, page, "", server_name=host, footer_links=[], run_history=False, show_error=True, ssr_mode=False,
        pwa=False, mcp_server=False, enable_monitoring=False, max_file_size=1, theme=theme,
        head=HEAD,
    )  # fmt: skip
    # No event of the page goes through Gradio's own queue, which looks for some a thousand times a second.
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = 1.0
    return Guard(FirstScript(application), host, OWN), videos
