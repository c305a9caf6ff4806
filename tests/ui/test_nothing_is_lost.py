"""Server and worker killed at work: the page, started again, has every video, and none twice."""

from __future__ import annotations

import os
import signal

import pytest
from browsing import chromium, wait_for
from conftest import PROMPTS
from served_page import Page, generate, open_page, records, texts, unfold, workers

pytestmark = pytest.mark.slow
LONG = 240


@pytest.mark.parametrize("killed", ["server", "worker", "both"])
def test_three_videos_are_there_whoever_is_killed_in_the_second(tmp_path, killed):
    with chromium(tmp_path / "profile") as browser, Page(tmp_path / "videos") as page:
        open_page(browser, page)
        unfold(browser, "Video")
        assert "added 3 videos" in generate(browser, "\n".join(PROMPTS[:3]), seed=5, steps=40)

        def second_runs():
            return len(records(page.folder)) == 1 and "running" in texts(browser, ".queue .state")

        wait_for(second_runs, LONG)
        [first] = page.folder.glob("*.mp4")
        made = first.stat().st_mtime_ns
        if killed in ("worker", "both"):
            [worker] = workers(page.folder)
            os.kill(worker, signal.SIGKILL)
        if killed in ("server", "both"):
            page.kill()
            page.start()
            open_page(browser, page)
        wait_for(lambda: len(records(page.folder)) == 3, LONG)
        wait_for(lambda: not texts(browser, ".queue .state") and len(texts(browser, ".gallery .title")) == 3, 60)
        assert texts(browser, ".gallery .title") == list(PROMPTS[:3][::-1])
        found = records(page.folder)
        assert [(r["request"]["prompt"], r["request"]["seed"]) for r in found] == list(
            zip(PROMPTS[:3], (5, 6, 7), strict=True)
        )
        assert first.stat().st_mtime_ns == made
        assert len(list(page.folder.glob("*.mp4"))) == 3
        errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
        assert all("Failed to load" in e["message"] for e in errors)  # while no server was there
