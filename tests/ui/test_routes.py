"""The page's own routes and its guard, asked as a browser, another site or an attacker would."""

from __future__ import annotations

import json
import re
import time

import pytest
from conftest import ROOT

import videoada
from videoada.config.settings import RunSettings
from videoada.rendering.queue.queue import RenderQueue
from videoada.ui.guard import Guard

HOSTILE = '<img src=x onerror="window.hacked=1"></script> & "quotes"'
HERE = {"host": "127.0.0.1:7860"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a video of a hostile prompt, its full run, and one that waits."""
    folder = tmp_path_factory.mktemp("secret") / "videos"
    queue = RenderQueue(folder)
    fields = {"steps": 6, "num_frames": 4, "num_predictions": 5}
    [id] = queue.add([RunSettings(prompt=HOSTILE, **fields)])
    queue.compare(id)
    videoada.work_on_queue(folder, until_empty=True)
    queue.add([RunSettings(prompt="a red circle growing on a black background", **fields)])
    return folder


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    from starlette.testclient import TestClient

    from videoada.ui.application import make_application

    aside = tmp_path_factory.mktemp("aside")
    application, _ = make_application(
        RenderQueue(folder), aside=aside, host="127.0.0.1", model="tiny-t2v", local=True, after=lambda: None
    )
    with TestClient(application, base_url="http://127.0.0.1:7860") as client:
        yield client


def ids(client):
    found = client.get("/videos").json()
    return [video["id"] for video in found["videos"]]


def test_what_changed_is_said_once(client):
    first = client.get("/videos").json()
    assert [video["state"] for video in first["videos"]] == ["done", "waiting"]
    assert first["order"] == [video["id"] for video in first["videos"]]
    again = client.get("/videos", params={"since": first["number"], "run": first["run"]}).json()
    assert again == {"run": first["run"], "number": first["number"]}
    other = client.get("/videos", params={"since": first["number"], "run": "of a server before"}).json()
    assert len(other["videos"]) == 2


def test_embedded_models_are_named_as_such(client):
    shown = json.dumps(client.get("/videos").json())
    assert shown.count("tiny-t2v (small embedded model)") == 2
    assert "tiny-t2v: text to video (small, embedded)" in client.get("/config").text


def test_a_video_is_served_by_id_in_parts_and_as_a_file_with_its_record(client, tmp_path):
    [id, waiting] = ids(client)
    part = client.get(f"/videos/{id}/file", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert client.get(f"/videos/{id}/full").headers["content-type"] == "video/mp4"
    saved = client.get(f"/videos/{id}/download")
    assert saved.headers["content-disposition"].startswith("attachment")
    (tmp_path / "saved.mp4").write_bytes(saved.content)
    assert videoada.find_record(tmp_path / "saved.mp4").request.prompt == HOSTILE
    assert client.get(f"/videos/{id}/picture").content[:2] == b"\xff\xd8"
    for what in ("file", "full", "download", "report"):
        assert client.get(f"/videos/{waiting}/{what}").status_code == 404
    assert client.get(f"/videos/{waiting}/picture").headers["content-type"] == "image/png"  # a pixel


def test_prompts_are_escaped_and_no_answer_holds_a_path(client, folder):
    [id, waiting] = ids(client)
    root = str(folder.parent.parent)
    pages = ["/", "/config", "/gradio_api/info", "/videos", f"/videos/{id}", f"/videos/{waiting}",
             f"/videos/{id}/report", "/words?model=emoji-t2v&search=cat"]  # fmt: skip
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert root not in answer.text, page
        assert str(ROOT) not in answer.text, page
        assert "<img src=x" not in answer.text.replace(json.dumps(HOSTILE)[1:-1], ""), page
    assert "&lt;img src=x" in client.get(f"/videos/{id}").text
    failed = client.post(f"/videos/{id}/again")
    assert failed.status_code == 409
    assert root not in failed.text


def test_the_large_view_says_what_it_cost(client):
    text = client.get(f"/videos/{ids(client)[0]}").text
    assert "5 of 6 noise predictions were computed" in text
    assert re.search(r"PSNR frame by frame, \d", text)
    assert "times as fast" in text
    assert "every check of coherence" in text or "Checks of coherence" in text


@pytest.mark.parametrize("id", ["x", "%2e%2e", "%2e%2e%2frender.json", "a" * 3000])
def test_an_id_is_looked_up_and_names_no_file(client, id):
    for what in ("", "/file", "/report", "/picture"):
        assert client.get(f"/videos/{id}{what}").status_code in (404, 405)
    assert client.post(f"/videos/{id}/delete").status_code in (404, 405)


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/proxy=https://example.org",
     "/gradio_api/upload", "/monitoring", "/gradio_api/vibe-edit", "/login", "/docs", "/openapi.json", "/svelte/x",
     "/gradio_api/dev/reload", "/own/../../form.py", "/own/nothing.js", "/uploads/../../etc/passwd"],
)  # fmt: skip
def test_nothing_but_the_page_is_answered(client, path):
    assert client.get(path).status_code == 404
    assert client.post(path, content=b"x").status_code in (404, 405, 413)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),  # as after DNS rebinding
        ({"host": "evil.example:7860"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-length": str(10**9)}, 413),
        ({"content-length": "many"}, 413),
        ({}, None),
        ({"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}, None),
        ({"host": "localhost:7860"}, None),
        ({"host": "[::1]:7860"}, None),
        ({"host": "192.168.1.5:7860"}, None),
    ],
)
def test_only_pages_of_this_server_change_anything(headers, status):
    guard = Guard(None, "127.0.0.1", {"/videos": 100})
    refused = guard.refuses("POST", "/videos/x/delete", HERE | headers)
    assert (refused and refused[0]) == status


def test_another_sites_form_deletes_nothing(client):
    [id, _] = ids(client)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}):
        assert client.post(f"/videos/{id}/delete", headers=headers).status_code == 403
        assert client.post("/gradio_api/run/predict", headers=headers, json={}).status_code == 403
    assert client.get(f"/videos/{id}").status_code == 200


def test_uploads_are_bounded_and_read(client):
    big = client.post("/uploads?name=a.png", content=b"x", headers={"content-length": str(2**40)})
    assert big.status_code == 413

    def stream():
        for _ in range(40):
            yield b"x" * 2**20

    with pytest.raises(Exception) as cut:  # noqa: PT011  # a body without a length is cut where it grows too long
        client.post("/uploads?name=a.png", content=stream())
    assert "ClientDisconnect" in type(cut.value).__name__
    answer = client.post("/uploads?name=%3Cb%3E.png", content=b"no picture")
    assert answer.status_code == 422
    assert "<b>.png" in answer.json()["error"]
    answer = client.post("/prompts?name=..%2f..%2fp.txt", content=b"a\nb\n")
    assert answer.json() | {"id": ""} == {"id": "", "name": "p.txt", "count": 2}


def test_a_browser_asks_nothing_of_other_machines(client):
    headers = client.get("/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_words_that_a_model_knows_are_found(client):
    assert 'data-part="SUBJECT">cat face' in client.get("/words?model=emoji-t2v&search=cat").text
    assert "nearest: " in client.get("/words?model=emoji-t2v&search=rokket").text
    assert client.get("/words?model=wan-2.1-1.3b").text == ""


def test_a_page_that_nobody_asks_leaves_the_processor_alone(client):
    """Gradio's queue would look for events a thousand times a second, beside a run on the same cores."""
    client.get("/")

    def spent():
        began = time.process_time()
        time.sleep(1)
        return time.process_time() - began

    assert min(spent() for _ in range(3)) < 0.02  # what looks all the time does so in each second


def test_our_script_is_before_gradios(client):
    answer = client.get("/", headers={"accept-encoding": "br, gzip"})
    assert answer.text.index("own/frames.js") < answer.text.index("<script", answer.text.index("own/frames.js") + 20)
    assert answer.text.count("<script", 0, answer.text.index("own/frames.js")) == 1
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "statustracker" in client.get("/own/frames.js").text
    assert client.head("/").status_code in (200, 405)
