"""Chromium without a window, for tests of pages."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Any]:
    """A selenium driver with the logs `browser` and `performance`; skips the test, or fails it with
    VIDEOADA_NEEDS_BROWSER, where Chromium is not installed."""
    if not BROWSER or not DRIVER:
        if os.environ.get("VIDEOADA_NEEDS_BROWSER"):
            pytest.fail("chromium and chromedriver must be installed here")
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
                 f"--user-data-dir={profile}", *flags):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def requested(browser):
    """The addresses of all requests since the last call."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    sent = (event["params"] for event in events if event["method"] == "Network.requestWillBeSent")
    return [p["request"]["url"] for p in sent if not p["documentURL"].startswith("chrome")]  # a new tab's own


def wait_for(find, seconds=20):
    """What `find` returns once it is something."""
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, "nothing found in time"
        time.sleep(0.1)
    return found


def outside(urls):
    """Those that are neither on this machine's disk nor in the page itself."""
    return [url for url in urls if not url.startswith(("file:", "data:", "blob:", "about:"))]
