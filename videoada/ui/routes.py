"""The page's own routes: videos by id, what changed, what a browser sends. No answer holds a path of this machine."""

from __future__ import annotations

import base64
import io
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from videoada.errors import OutputError, VideoAdaError
from videoada.evaluation.cases import Case
from videoada.evaluation.report import render
from videoada.media.outputs import record_path
from videoada.media.posters import poster_frame
from videoada.records.find import find_record
from videoada.rendering.queue.entry import QueueEntry
from videoada.rendering.queue.queue import RenderQueue
from videoada.ui import uploads as uploaded
from videoada.ui.uploads import Uploads
from videoada.ui.videos import ACTIVE, HERE, PLAYERS, Videos
from videoada.ui.words import words_html

OWN = {"/videos": 2**16, "/uploads": uploaded.MOST_BYTES, "/prompts": uploaded.MOST_BYTES, "/words": 0, "/own/": 0}
KEPT = {"Cache-Control": "private, max-age=31536000, immutable"}  # its address changes with it
# One transparent pixel.
NO_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
NEW = {"Cache-Control": "no-cache"}
# The page's scripts and styles: what it shares with the report, then its own.
FILES = {
    "frames.js": ([HERE / "static/frames.js"], "text/javascript"),
    "page.js": ([PLAYERS / "players.js", HERE / "static/page.js"], "text/javascript"),
    "page.css": ([PLAYERS / "players.css", HERE / "static/page.css"], "text/css"),
}


def make_router(queue: RenderQueue, videos: Videos, uploads: Uploads, after: Callable[[], None]) -> APIRouter:
    """The routes; `after` is called when the queue has work to do."""
    router = APIRouter()
    actions: dict[str, Callable[[str], None]] = {
        "stop": queue.stop, "again": queue.again, "delete": queue.delete, "compare": queue.compare,
    }  # fmt: skip

    def found(id: str) -> QueueEntry:
        if (entry := videos.entry(id)) is None:
            raise HTTPException(404, "there is no such video")
        return entry

    def file_of(entry: QueueEntry | None, saved_as: bool = False) -> FileResponse:
        if entry is None or entry.video is None or not entry.video.is_file():
            raise HTTPException(404, "there is no such video")
        kind = mimetypes.guess_type(entry.video.name)[0] or "application/octet-stream"
        name = entry.video.name if saved_as else None
        return FileResponse(entry.video, media_type=kind, filename=name, headers=NEW)

    @router.get("/videos")
    def changes(since: int = -1, run: str = "") -> JSONResponse:
        return JSONResponse(videos.changes(since, run), headers={"Cache-Control": "no-store"})

    @router.get("/videos/{id}")
    def large(id: str) -> HTMLResponse:
        return HTMLResponse(videos.large(found(id)), headers={"Cache-Control": "no-store"})

    @router.get("/videos/{id}/file")
    def file(id: str) -> FileResponse:
        return file_of(found(id))

    @router.get("/videos/{id}/full")
    def full(id: str) -> FileResponse:
        return file_of(found(id).full)

    @router.get("/videos/{id}/download")
    def download(id: str) -> FileResponse:
        return file_of(found(id), saved_as=True)

    @router.get("/videos/{id}/picture")
    def picture(id: str) -> Response:
        entry = found(id)
        if entry.state not in ACTIVE and entry.video and (data := _poster(entry.video)):
            return Response(data, media_type="image/jpeg", headers=KEPT)
        try:
            data = entry.preview.read_bytes() if entry.preview else NO_PICTURE
        except OSError:  # it has just gone, for the video is done
            data = NO_PICTURE
        return Response(data, media_type="image/png", headers=NEW)

    @router.get("/videos/{id}/report")
    def report(id: str) -> HTMLResponse:
        entry = found(id)
        if entry.video is None:
            raise HTTPException(404, "there is no such video")
        partner = entry.full.video if entry.full and entry.full.state == "done" else None
        try:
            case = Case(entry.video, find_record(record_path(entry.video)), None, partner)
            title = "videoada report"
            return HTMLResponse(render([case], None, entry.video.parent, videos="embed", num_cases=1, title=title))
        except VideoAdaError as error:
            raise HTTPException(409, videos.plain(error)) from None

    @router.post("/videos/{id}/{action}")
    def act(id: str, action: str) -> JSONResponse:
        if action not in actions:
            raise HTTPException(404, "there is no such action")
        entry = found(id)
        if action == "stop" and entry.full and entry.full.state in ACTIVE:
            entry = entry.full
        try:
            with videos.libraries:
                actions[action](entry.id)
        except VideoAdaError as error:
            return JSONResponse({"error": videos.plain(error)}, 409)
        videos.look(now=True)
        after()
        return JSONResponse({})

    @router.post("/uploads")
    async def upload(request: Request, name: str = "image") -> JSONResponse:
        return await _kept(request, name, uploads.add_picture, lambda id: {})

    @router.get("/uploads/{id}")
    def uploaded_picture(id: str) -> FileResponse:
        if id not in uploads.pictures or not uploads.pictures[id][0].is_file():
            raise HTTPException(404, "there is no such image")
        return FileResponse(uploads.pictures[id][0], headers=NEW)

    @router.post("/prompts")
    async def prompts(request: Request, name: str = "prompts.txt") -> JSONResponse:
        return await _kept(request, name, uploads.add_prompts, lambda id: {"count": len(uploads.lists[id].entries)})

    @router.get("/words")
    def words(model: str = "", search: str = "") -> HTMLResponse:
        return HTMLResponse(words_html(videos.environment, model, search), headers=KEPT | {"Cache-Control": "no-cache"})

    @router.get("/own/{name}")
    def own(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "not found")
        parts, kind = FILES[name]
        text = "\n".join(path.read_text(encoding="utf-8") for path in parts)
        return Response(text, media_type=kind, headers=NEW)

    return router


async def _kept(
    request: Request, name: str, keep: Callable[[str, bytes], str], more: Callable[[str], dict[str, Any]]
) -> JSONResponse:
    """The id of what was sent, or what is wrong with it."""
    from starlette.concurrency import run_in_threadpool

    name = name.replace("\\", "/").rsplit("/", 1)[-1][:200]
    try:
        id = await run_in_threadpool(keep, name, await request.body())
    except VideoAdaError as error:
        return JSONResponse({"error": " ".join(str(error).split())}, 422)
    return JSONResponse({"id": id, "name": name, **more(id)})


def _poster(video: Path) -> bytes | None:
    """A video's middle frame as a JPEG; None for one that can't be read."""
    from PIL import Image

    try:
        image = Image.fromarray(poster_frame(video))
    except OutputError:
        return None
    image.thumbnail((480, 480))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()
