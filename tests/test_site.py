"""The built documentation, opened from disk in a browser: search finds pages, and nothing is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browsing import chromium, outside, requested, wait_for
from selenium.webdriver.common.by import By

ROOT = Path(__file__).resolve().parent.parent
FORMULA = r"$$\hat{x}_0 = \frac{x - \sigma \hat{\epsilon}}{\alpha} < 1$$"


def build(site, *more):
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site, *more]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr + done.stdout
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def test_search_from_disk_finds_a_page_and_no_request_leaves(site, browser):
    browser.set_window_size(1280, 900)
    browser.get((site / "index.html").as_uri())
    box = browser.find_element(By.CSS_SELECTOR, "input[data-md-component='search-query']")
    browser.execute_script("arguments[0].focus()", box)
    box.send_keys("num_inference_steps")
    links = "return [...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
    found = wait_for(lambda: browser.execute_script(links))
    target = next(link for link in found if "/input.html" in link)
    browser.get(target)
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("Forms of input")
    urls = requested(browser)
    assert any(url.startswith("file:") and "iframe-worker" in url for url in urls)
    assert any("search_index.js" in url for url in urls)
    assert outside(urls) == []


@pytest.mark.parametrize("width", [1280, 420])
def test_every_page_shows_whole(site, browser, width):
    """No error in the console, no broken picture, nothing but tables and code wider than the window."""
    browser.set_window_size(width, 900)
    requested(browser)
    browser.get_log("browser")
    for page in sorted(site.glob("*.html")):
        if page.name == "404.html":  # which a server shows at any address: its links begin at the root
            continue
        browser.get(page.as_uri())
        inner, scroll = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
        assert scroll <= inner, f"{page.name} is {scroll} pixels wide in a window of {inner}"
        broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert browser.execute_script(broken) == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert outside(requested(browser)) == []


def test_pages_load_nothing_by_their_markup(site):
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe|source)[^>]*\bsrc="(?:https?:)?//', text), page.name
        assert not re.search(r'<link[^>]*\brel="(?:stylesheet|preconnect|preload|icon)"[^>]*href="(?:https?:)?//', text)


@pytest.fixture
def formulas(tmp_path):
    """A site of one page, by the same configuration."""

    def written(text):
        docs = tmp_path / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "index.md").write_text(text, encoding="utf-8")
        (tmp_path / "mkdocs.yml").write_text(
            f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {docs}\nnav:\n  - index.md\nextra_css: []\n"
            f"extra:\n  polyfills: []\nhooks:\n  - {ROOT / 'docs' / 'hooks.py'}\nplugins:\n  - search\n"
        )
        done = build(tmp_path / "site", "--config-file", tmp_path / "mkdocs.yml")
        return done, (tmp_path / "site" / "index.html")

    return written


def test_formulas_become_mathml(formulas):
    done, page = formulas(f"# Page\n\nA $\\sigma_t$ in a line costs $5, and\n\n{FORMULA}\n")
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert text.count("<math") == 2
    assert 'display="inline"' in text
    assert 'display="block"' in text
    assert "<mfrac>" in text
    assert "arithmatex" not in text
    assert "costs $5" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"A $\frac$ here", "index.md: formula"),
        (r"$$\unknown$$", "\\unknown is unknown"),
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](#none)", "none"),
    ],
)
def test_mistakes_end_the_build(formulas, text, message):
    done, _ = formulas(f"# Page\n\n{text}\n")
    assert done.returncode != 0
    assert message in done.stderr
