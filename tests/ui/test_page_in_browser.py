"""The page in a real browser, with a server and a worker as a user has them, from a prompt to the comparison.

With VIDEOADA_SCREENSHOTS=FOLDER the pictures of the documentation are written there.
"""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from browsing import chromium, outside, requested, wait_for
from conftest import PROMPTS
from PIL import Image
from served_page import Page, generate, notice, open_page, plays, press, records, texts, unfold, write

HOSTILE = '<img src=x onerror="window.hacked=1"></script>{{7*7}}${7*7} & "quotes"'
QUICK = {"steps": 6, "num_frames": 4}
LONG = 100  # seconds, on a machine that has other things to do


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile"), "--autoplay-policy=no-user-gesture-required") as driver:
        yield driver


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Page(tmp_path_factory.mktemp("page") / "videos") as page:
        yield page


@pytest.fixture
def page(browser, served):
    """The page, just opened. At the end nothing has gone wrong in it and nothing was asked of another machine."""
    requested(browser)
    browser.get_log("browser")
    open_page(browser, served)
    yield served
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = requested(browser)
    assert sent
    assert [url for url in outside(sent) if not url.startswith(served.address)] == []
    assert browser.execute_script("return window.hacked") is None


def picture(browser, name):
    if folder := os.environ.get("VIDEOADA_SCREENSHOTS"):
        time.sleep(0.5)
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def letters(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('.large .steps i')].map(i => i.className).join('')"
    )


def states(browser):
    return texts(browser, ".queue .state")


def test_a_video_from_its_prompt_to_the_comparison(browser, page):
    """The strip fills, the video plays, its full run beside it in step, the difference as amplified as asked."""
    assert "added 1 video" in generate(browser, PROMPTS[0], seed=3)
    seen = set()

    def look():
        strip = letters(browser).rstrip("T")
        if len(strip) > 12 and not any(len(other) > 12 for other in seen):
            picture(browser, "ui-running")
        seen.add(strip)

    wait_for(lambda: look() or plays(browser), LONG)
    filled = {strip for strip in seen if strip}
    assert len(filled) >= 2, seen
    assert all(set(strip) <= set("CSR") for strip in filled)
    [record] = records(page.folder)
    final = letters(browser)
    assert [letter == "C" for letter in final] == record["computed"]
    assert f"{record['num_predictions']} of 50 predictions" in texts(browser, ".large .facts")[0]
    assert texts(browser, ".gallery .card .title") == [PROMPTS[0]]
    first = browser.find_element("css selector", ".large video")
    assert first.get_attribute("loop")

    press(browser, ".large [data-do=compare]")
    wait_for(lambda: plays(browser, 2), LONG)
    times = browser.execute_script("return [...document.querySelectorAll('.large video')].map(v => v.currentTime)")
    assert times[0] == pytest.approx(times[1], abs=0.3)
    assert texts(browser, ".large .player figcaption")[:2] == ["full run", "with skipping"]
    assert browser.execute_script("return document.querySelector('.large .worst').getAttribute('x1') > 0")
    assert "worst: frame" in " ".join(texts(browser, ".large p"))
    press(browser, ".large .run")  # pause

    def brightness():
        shown = Image.open(io.BytesIO(browser.find_element("css selector", ".large canvas").screenshot_as_png))
        return float(np.asarray(shown.convert("RGB")).mean())

    def amplify(times):
        browser.execute_script(
            "const gain = document.querySelector('.large .gain'); gain.value = arguments[0];"
            "gain.dispatchEvent(new Event('input'))",
            times,
        )

    amplify(1)
    faint = wait_for(brightness)
    amplify(32)
    wait_for(lambda: brightness() > 4 * faint)
    assert texts(browser, ".large .times") == ["× 32"]
    before = texts(browser, ".large .at")
    browser.execute_script(
        "const s = document.querySelector('.large .seek'); s.value = 2; s.dispatchEvent(new Event('input'))"
    )
    wait_for(lambda: texts(browser, ".large .at") == ["frame 3 of 16"] != before)
    assert "times as fast" in " ".join(texts(browser, ".large .lines"))
    browser.execute_script("scrollTo(0, 0)")
    picture(browser, "ui-compare")


def test_use_again_gives_the_same_video(browser, page):
    unfold(browser, "Video")
    unfold(browser, "Skipping")
    generate(browser, PROMPTS[1], seed=11, tolerance=0.1, **QUICK)
    wait_for(lambda: plays(browser), LONG)
    browser.get("about:blank")
    open_page(browser, page)
    wait_for(lambda: PROMPTS[1] in texts(browser, ".large h2"))
    press(browser, ".large [data-do=use]")
    wait_for(lambda: "in the form" in notice(browser))
    value = "return document.querySelector(arguments[0]).value"
    assert browser.execute_script(value, "#prompt textarea") == PROMPTS[1]
    assert browser.execute_script(value, "#seed textarea, #seed input") == "11"
    count = len(records(page.folder))
    press(browser, "#generate")
    wait_for(lambda: len(records(page.folder)) == count + 1, LONG)
    assert "the same as before" in notice(browser)
    first, second = records(page.folder)[-2:]
    assert first["frames_sha256"] == second["frames_sha256"]
    assert first["skip"] == second["skip"]
    assert first["skip"]["tolerance"] == 0.1


def test_a_video_is_stopped_midway_and_deleted(browser, page):
    unfold(browser, "Video")
    count = len(records(page.folder))
    generate(browser, PROMPTS[2], steps=600)
    wait_for(lambda: "C" in letters(browser) and "running" in states(browser), LONG)
    press(browser, ".queue [data-do=stop]")
    wait_for(lambda: states(browser) == ["stopped"], LONG)
    wait_for(lambda: letters(browser).count("T") > 100)
    assert len(records(page.folder)) == count
    press(browser, ".queue [data-do=delete]")
    wait_for(lambda: texts(browser, ".queue [data-do=delete]") == ["Really delete?"])
    assert states(browser) == ["stopped"]
    press(browser, ".queue [data-do=delete]")
    wait_for(lambda: not states(browser))


def test_prompts_and_names_of_files_are_text(browser, page, tmp_path):
    """What would be a script elsewhere: of a prompt, of a file's name, of what is in it."""
    name = "<img src=x onerror=window.hacked=2>.txt"
    (tmp_path / name).write_text(f"{HOSTILE}\n{PROMPTS[3]}\n")
    browser.find_element("css selector", "#tools [data-kind=file] input").send_keys(str(tmp_path / name))
    wait_for(lambda: any(f"{name}: 2 prompts" in text for text in texts(browser, "#tools .chosen")))
    unfold(browser, "Video")
    said = generate(browser, "", **QUICK)
    assert "added 2 videos" in said
    assert "has never seen: img" in said  # before its video is there
    wait_for(lambda: HOSTILE in texts(browser, ".gallery .title") and not states(browser), LONG)
    browser.execute_script(
        "[...document.querySelectorAll('.gallery .title button')].find(t => t.textContent === arguments[0]).click()",
        HOSTILE,
    )
    wait_for(lambda: texts(browser, ".large h2") == [HOSTILE])
    bad = tmp_path / "<b>bad.csv"
    bad.write_text("no header\n")
    browser.find_element("css selector", "#tools [data-kind=file] input").send_keys(str(bad))
    wait_for(lambda: "<b>bad.csv" in " ".join(texts(browser, "#tools .problem")))
    browser.get_log("browser")  # a file that is refused is noted there


def test_what_cannot_be_met_is_said_beside_the_button(browser, page):
    said = generate(browser, PROMPTS[0], seed="nothing")
    assert "“seed”" in said
    assert "Traceback" not in said
    press(browser, "#amount input[value='exactly N predictions']")
    wait_for(lambda: browser.find_elements("css selector", "#number input"))
    write(browser, "number", "2")
    assert "“num predictions” 2 is too few" in generate(browser, PROMPTS[0], seed=0)


def test_what_a_model_knows_is_searched_and_clicked(browser, page):
    write(browser, "prompt", PROMPTS[0])
    press(browser, "#tools .known summary")
    box = browser.find_element("css selector", "#tools .known .sought")
    box.send_keys("tri")
    wait_for(lambda: texts(browser, "#tools .word") == ["triangle"])
    press(browser, "#tools .word")
    value = "return document.querySelector('#prompt textarea').value"
    wait_for(lambda: browser.execute_script(value) == PROMPTS[0].replace("circle", "triangle"))


def test_a_model_that_takes_an_image_is_given_one(browser, page, tmp_path):
    assert not browser.find_elements("css selector", "#tools [data-kind=image]")
    browser.find_element("css selector", "#model input").click()
    wait_for(lambda: browser.find_elements("css selector", "#model [role=option]"))
    browser.execute_script(
        "[...document.querySelectorAll('#model [role=option]')].find(o => o.textContent.includes('tiny-i2v'))"
        ".dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))"
    )
    wait_for(lambda: browser.find_elements("css selector", "#tools [data-kind=image] input"))
    Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "first.png")
    browser.find_element("css selector", "#tools [data-kind=image] input").send_keys(str(tmp_path / "first.png"))
    wait_for(lambda: browser.find_elements("css selector", "#tools .chosen img"))
    loaded = "return document.querySelector('#tools .chosen img').naturalWidth"
    wait_for(lambda: browser.execute_script(loaded) == 64)


def test_another_browser_sees_the_same_and_finds_by_words(browser, page):
    wait_for(lambda: texts(browser, ".gallery .title") and not states(browser), LONG)  # of the tests before
    here = texts(browser, ".gallery .title")
    window = browser.current_window_handle
    browser.switch_to.new_window("window")
    try:
        open_page(browser, page)
        wait_for(lambda: texts(browser, ".gallery .title") == here, LONG)
        browser.find_element("css selector", ".gallery .sought").send_keys("RED circle")
        wait_for(lambda: set(texts(browser, ".gallery .title")) == {PROMPTS[0]})
        assert f"of {len(here)}" in texts(browser, ".gallery .count")[0]
    finally:
        browser.close()
        browser.switch_to.window(window)


def test_a_phone_shows_the_page(browser, page):
    open_page(browser, page, 400, 850)
    wait_for(lambda: texts(browser, ".gallery .title"))
    inner, wide = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert wide <= inner
    bottom = browser.execute_script("return document.querySelector('#generate').getBoundingClientRect().bottom")
    assert bottom < 850
    unfold(browser, "Video")
    generate(browser, PROMPTS[3], **QUICK)
    top = "return document.querySelector('.va.videos').getBoundingClientRect().top"
    wait_for(lambda: browser.execute_script(top) < 300)  # what was asked for comes into view
    wait_for(lambda: texts(browser, ".large h2") == [PROMPTS[3]] and plays(browser), LONG)
    picture(browser, "ui-phone")
    small = browser.execute_script(
        "return [...document.querySelectorAll('.va button, .va a.button')].filter(b => b.offsetHeight && "
        "b.offsetHeight < 20).map(b => b.textContent)"
    )
    assert small == []


def test_a_report_opens(browser, page):
    [link] = wait_for(lambda: browser.find_elements("css selector", ".large a[href$=report]"))
    browser.get(link.get_attribute("href"))
    wait_for(lambda: browser.execute_script("return document.querySelector('.case video')"))
    moving = "const v = document.querySelector('.case video'); return v.readyState > 1"
    wait_for(lambda: browser.execute_script(moving))


COUNT = """
    const ask = window.requestAnimationFrame;
    window.asked = 0;
    window.requestAnimationFrame = callback => {
        if (new Error().stack.includes("statustracker")) window.asked++;
        return ask.call(window, callback);
    };"""


def test_a_page_that_only_shows_asks_for_few_frames(browser, page):
    """Gradio's own script asks for one after the other as long as the page is open, unless ours comes first."""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": COUNT})
    open_page(browser, page)
    time.sleep(1)
    before = browser.execute_script("return window.asked")
    time.sleep(2)
    assert browser.execute_script("return window.asked") - before < 20
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_ended_while_a_browser_looks_it_says_nothing(browser, served):
    open_page(browser, served)
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(30) == 130
    browser.get("about:blank")
    assert not [line for line in served.said if "Traceback" in line or "ERROR" in line], served.said
