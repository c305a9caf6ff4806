"""videoada report: the page itself, untrusted text in it, and the page in a real browser."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser

import pytest
from browsing import chromium
from commandline import command
from made_videos import PROMPTS, noisy, record

import videoada
from videoada.evaluation.report import write_report
from videoada.evaluation.result import EvaluationResult
from videoada.media.video import Video
from videoada.shapes import render

HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked=2"> & "quotes" {{ 7 * 7 }} $x^2$'
FIDELITY = {"psnr": 31.5, "psnr_frame_mean": 32.0, "psnr_worst_frame": 28.0, "ssim": 0.98, "tof": 0.1,
            "identical": False, "speedup": 1.9, "latent_error": [0.0, 0.01, 0.02, 0.03]}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two folders, an evaluation and its report; one prompt is an attack."""
    root = tmp_path_factory.mktemp("report")
    prompts = [*PROMPTS[:3], HOSTILE]
    for folder in ("full", "skipped"):
        (root / folder).mkdir()
    for seed, prompt in enumerate(prompts):
        full = render(PROMPTS[seed], seed=seed)
        Video(full).write(root / "full" / f"{seed}.mp4", record(prompt, seed, "none").to_json())
        kept = record(prompt, seed, fidelity=FIDELITY | {"psnr": 30.0 + seed})
        Video(noisy(full, level=1 + 3 * seed)).write(root / "skipped" / f"{seed}.mkv", kept.to_json())
    result = videoada.evaluate(root / "skipped", root / "full")
    (root / "result.json").write_text(result.model_dump_json())
    write_report(root / "report.html", result)
    return root


class Reader(HTMLParser):
    """Tags, attributes and scripts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.links.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def test_the_page_is_whole_and_stands_alone(page):
    text = (page / "report.html").read_text()
    reader = Reader(text)
    assert reader.tags.count("video") == 8
    assert reader.tags.count("figure") == 3
    assert all(link.startswith("data:video/mp4;base64,") for link in reader.links)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    for part in ("FVD[tiny-shapes-v1]", "KVD[tiny-shapes-v1]", "PSNR (pooled)", "a small embedded model", PROMPTS[0]):
        assert part in text
    rows = EvaluationResult.from_file(page / "result.json").videos
    places = [text.index(row.video) for row in sorted(rows, key=lambda row: row.fidelity["psnr"])]  # the worst first
    assert places == sorted(places)


def test_prompts_are_text_and_nothing_else(page):
    text = (page / "report.html").read_text()
    reader = Reader(text)
    assert reader.tags.count("script") == 1
    assert not reader.handlers
    assert "img" not in reader.tags
    assert "&lt;script&gt;window.hacked" in text
    assert "{{ 7 * 7 }}" in text


def test_the_command_writes_reports(page, tmp_path):
    def run(*args, code=0):
        return command("report", *args, code=code)

    run("--evaluation", page / "result.json", "--output", tmp_path / "a.html", "--cases", 1, "--title", "<b>T")
    text = (tmp_path / "a.html").read_text()
    assert Reader(text).tags.count("video") == 2
    assert "&lt;b&gt;T" in text
    run(page / "skipped", "--output", tmp_path / "b.html", "--videos", "none")  # records alone, with their own fidelity
    text = (tmp_path / "b.html").read_text()
    assert "video" not in Reader(text).tags
    assert "latents are from the full run" in text
    assert "1.90" in text
    run(page / "full", "--output", page / "c.html", "--videos", "link")
    text = (page / "c.html").read_text()
    assert "full/0.mp4" in Reader(text).links
    assert text.count('preload="none" poster="data:image/jpeg') == Reader(text).tags.count("video")
    (tmp_path / "empty").mkdir()
    for args, message in (
        ([], "give videos"),
        ([page / "skipped", "--evaluation", page / "result.json"], "not both"),
        (["--evaluation", page / "full" / "0.mp4"], "can't read"),
        (["--evaluation", tmp_path / "none.json"], "does not exist"),
        ([tmp_path / "empty"], "holds no videos"),
        ([page / "skipped", "--videos", "perhaps"], "choose from embed, link, none"),
        ([page / "skipped", "--output", "x.pdf"], "--output: 'x.pdf' must end in .html"),
    ):
        done = run(*args, code=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    strange = tmp_path / "strange.json"
    strange.write_text(json.dumps({"schema_version": 1}))
    assert "is no result of `videoada evaluate --output`" in run("--evaluation", strange, code=2).stderr


def test_reports_of_few_metrics_and_of_folders_that_are_gone(page, tmp_path):
    result = videoada.evaluate(page / "skipped", page / "full", metrics=("ms-ssim",))
    write_report(tmp_path / "few.html", result)
    moved = result.model_copy(update={"generated": result.generated.model_copy(update={"path": "/nowhere"})})
    write_report(tmp_path / "gone.html", moved)
    text = (tmp_path / "gone.html").read_text()
    assert "4 videos no longer where evaluated" in text
    assert "video" not in Reader(text).tags


def test_results_read_back(page):
    result = EvaluationResult.from_file(page / "result.json")
    assert len(result.videos) == 4
    assert result.model_dump_json() == (page / "result.json").read_text()


# ---- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile"), "--autoplay-policy=no-user-gesture-required") as driver:
        yield driver


@pytest.mark.parametrize("width", [1200, 380])
def test_the_page_in_a_browser(page, browser, width):
    """No console error, nothing executed from a prompt, players play, nothing wider than the window."""
    browser.set_window_size(width, 900)
    browser.get((page / "report.html").as_uri())
    assert browser.execute_script("return window.hacked") is None
    browser.find_element("id", "play").click()
    waited = time.monotonic()
    ready = "return [...document.querySelectorAll('video')].filter(v => v.currentTime > 0 && !v.error).length"
    while browser.execute_script(ready) < 8 and time.monotonic() - waited < 30:
        time.sleep(0.2)
    assert browser.execute_script(ready) == 8
    inner, scroll = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert scroll <= inner
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    browser.save_screenshot(str(page / f"screenshot-{width}.png"))
