"""The report in a real browser, from disk: players, difference, cursor, sorting, filtering, many videos, a phone."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from browsing import chromium, outside, requested, wait_for
from made_videos import PROMPTS, record, write
from PIL import Image

import videoada
from videoada.evaluation.report import write_report
from videoada.evaluation.result import EvaluationResult, Summary, VideoResult
from videoada.media.video import Video

HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked=2"> & "quotes" </style> $x^2$'
COUNT, WORST = 40, 5  # videos of the long page; the frame of the short one that differs most


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile"), "--autoplay-policy=no-user-gesture-required") as driver:
        yield driver
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two pairs of embedded videos: one brighter by 10 in its left half, and by 40 in one frame; one of an attack."""
    root = tmp_path_factory.mktemp("page")
    full = np.full((8, 64, 64, 3), 100, np.uint8)
    skipped = full.copy()
    skipped[:, :, :32] += 10
    skipped[WORST] = 140
    for seed, prompt in enumerate((PROMPTS[0], HOSTILE)):
        write(root / "full", f"{seed}.mkv", full, record(prompt, seed, "none", num_frames=8))
        made = skipped if seed == 0 else full + np.uint8(2)
        write(root / "skipped", f"{seed}.mkv", made, record(prompt, seed, num_frames=8))
    result = videoada.evaluate(root / "skipped", root / "full", metrics=("psnr", "ssim"))
    write_report(root / "report.html", result)
    return root / "report.html"


def ready(browser, card):
    """Scroll a card into view and wait for its players."""
    browser.execute_script(f"document.getElementById('{card}').scrollIntoView()")
    state = f"return [...document.querySelectorAll('#{card} video')].map(v => v.readyState > 1 && !v.seeking)"
    wait_for(lambda: (found := browser.execute_script(state)) and all(found) and len(found) == 2, 60)


def position(browser, card):
    """What the card says of the frame, and where the cursor of its line is."""
    return browser.execute_script(
        f"const c = document.getElementById('{card}');"
        "return [c.querySelector('.at').textContent, Number(c.querySelector('.cursor').getAttribute('x1'))]"
    )


def move(browser, card, control, value):
    browser.execute_script(
        f"const c = document.querySelector('#{card} .{control}'); c.value = {value};c.dispatchEvent(new Event('input'))"
    )


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_plays_and_fits(page, browser, width):
    """Nothing executed from a prompt, nothing asked from elsewhere, all players play, nothing wider than the window."""
    browser.set_window_size(width, 900)
    requested(browser)
    browser.get(page.as_uri())
    for card in ("case-0", "case-1"):
        ready(browser, card)
    browser.execute_script("document.getElementById('play').click()")
    moving = "return [...document.querySelectorAll('video')].filter(v => v.currentTime > 0 && !v.paused).length"
    wait_for(lambda: browser.execute_script(moving) >= 2, 60)
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelector('#case-1 h3').textContent") == HOSTILE
    inner, scroll = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert scroll <= inner
    assert outside(requested(browser)) == []


def test_the_difference_is_amplified_as_asked(page, browser):
    browser.set_window_size(1200, 900)
    browser.get(page.as_uri())
    ready(browser, "case-0")
    move(browser, "case-0", "seek", 1)

    def halves():
        """Mean grey levels of the left and the right half of what is shown."""
        shown = Image.open(io.BytesIO(browser.find_element("css selector", "#case-0 canvas").screenshot_as_png))
        pixels = np.asarray(shown.convert("RGB")).astype(float)
        width = pixels.shape[1]
        return pixels[:, width // 8 : 3 * width // 8].mean(), pixels[:, 5 * width // 8 : 7 * width // 8].mean()

    def shows(left, within):
        found = halves()
        return abs(found[0] - left) <= within and found[1] <= within

    wait_for(lambda: shows(80, 20), 60)  # 10 grey levels, 8 times; the players are compressed
    move(browser, "case-0", "gain", 20)
    wait_for(lambda: shows(200, 45), 60)
    move(browser, "case-0", "gain", 1)
    wait_for(lambda: shows(10, 3), 60)
    assert browser.find_element("css selector", "#case-0 .times").text == "× 1"


def test_the_cursor_follows_the_player_and_the_worst_frame_is_marked(page, browser):
    browser.set_window_size(1200, 900)
    browser.get(page.as_uri())
    ready(browser, "case-0")
    wait_for(lambda: position(browser, "case-0") == ["frame 6 of 8", 55], 60)  # where it is worst
    worst = "return Number(document.querySelector('#case-0 .worst').getAttribute('x1'))"
    assert browser.execute_script(worst) == 10 * WORST + 5
    move(browser, "case-0", "seek", 2)
    wait_for(lambda: position(browser, "case-0") == ["frame 3 of 8", 25], 60)
    times = browser.execute_script("return [...document.querySelectorAll('#case-0 video')].map(v => v.currentTime)")
    assert times == pytest.approx([2.5 / 8, 2.5 / 8], abs=0.01)
    browser.execute_script(  # a click at seven tenths of the line
        "const line = document.querySelector('#case-0 .psnr'), box = line.getBoundingClientRect();"
        "line.dispatchEvent(new MouseEvent('click', {clientX: box.left + 0.7 * box.width}))"
    )
    wait_for(lambda: position(browser, "case-0") == ["frame 6 of 8", 55], 60)
    browser.execute_script("document.querySelector('#case-0 .run').click()")
    seen = set()
    wait_for(lambda: seen.add(position(browser, "case-0")[1]) or len(seen) > 2, 60)
    browser.execute_script("document.querySelector('#case-0 .run').click()")
    paused = "return [...document.querySelectorAll('#case-0 video')].every(v => v.paused)"
    assert browser.execute_script(paused)


# ---- many videos ---------------------------------------------------------------------------------------------------

SORTS = ["red", "green", "blue", "Zebra crossing"]


def write_long(root, count):
    """A page of so many pairs of linked videos, all with players; one pair is identical, one has no PSNR."""
    full = np.full((2, 32, 32, 3), 90, np.uint8)
    rows = []
    for side, frames in {"full": full, "skipped": full + np.uint8(9)}.items():
        (root / side).mkdir()
        Video(frames).write(root / f"{side}.mp4")
        for i in range(count):
            shutil.copyfile(root / f"{side}.mp4", root / side / f"{i:03d}.mp4")
    for i in range(count):
        prompt = f"{SORTS[i % 4]} number {i}"
        fidelity = {"psnr": 20 + (i * 7919 % count) / 10, "ssim": 0.5, "identical": False}
        if i < 2:
            fidelity = {"psnr": None, "ssim": 1.0, "identical": True} if i else None
        kept = record(prompt, i, num_frames=2, height=32, width=32)
        (root / "skipped" / f"{i:03d}.json").write_text(kept.to_json())
        rows.append(VideoResult(video=f"{i:03d}.mp4", reference=f"{i:03d}.mp4", prompt=prompt, fidelity=fidelity))
    kinds = {"skipped": "runs", "full": "full runs"}
    summaries = [
        Summary(path=str(root / side), kind=kind, videos=count, clips=count, sizes=[], models=[])
        for side, kind in kinds.items()
    ]
    result = EvaluationResult(
        generated=summaries[0], reference=summaries[1], extractor=None, sampling={}, metrics={}, videos=rows,
        unpaired={}, skipped=[], warnings=[],
    )  # fmt: skip
    write_report(root / "report.html", result, videos="link", num_cases=count)
    return root / "report.html"


@pytest.fixture(scope="module")
def long_page(tmp_path_factory):
    return write_long(tmp_path_factory.mktemp("long"), COUNT)


def column(browser, index):
    script = (
        "return [...document.querySelectorAll('#videos tbody tr')].filter(r => !r.hidden)"
        f".map(r => r.cells[{index}].textContent)"
    )
    return browser.execute_script(script)


@pytest.mark.slow
def test_500_videos_open_at_once_and_few_players_are_made(tmp_path, browser):
    page, count = write_long(tmp_path, 500), 500
    browser.set_window_size(1200, 900)
    browser.get("about:blank")
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})  # as if nothing else ran
    requested(browser)
    browser.get(page.as_uri())
    wait_for(lambda: browser.execute_script("return document.getElementById('count').textContent"), 60)
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    seconds = {entry["name"]: entry["value"] for entry in metrics}
    assert 0 < seconds["TaskDuration"] < 3
    assert page.stat().st_size < count * 8000
    players = "return document.querySelectorAll('video').length"
    assert browser.execute_script(players) <= 12
    assert len(column(browser, 0)) == count
    for card in ("case-250", "case-499", "case-0"):
        ready(browser, card)
    assert browser.execute_script(players) <= 16  # those out of view were let go
    assert outside(requested(browser)) == []


def test_the_table_sorts_by_any_column_and_the_cards_follow(long_page, browser):
    browser.get(long_page.as_uri())
    heads = browser.execute_script("return [...document.querySelectorAll('#videos th')].map(h => h.textContent)")
    press = "document.querySelectorAll('#videos th button')[{}].click()"

    def sorted_by(name):
        browser.execute_script(press.format(heads.index(name)))
        return column(browser, heads.index(name))

    seeds = [int(text) for text in sorted_by("seed")]
    assert seeds == list(range(COUNT))
    first = "return document.querySelector('.case h3').textContent"
    assert browser.execute_script(first) == "red number 0"
    assert [int(text) for text in sorted_by("seed")] == seeds[::-1]
    assert browser.execute_script(first) == f"{SORTS[3]} number {COUNT - 1}"
    psnr = sorted_by("PSNR")
    assert psnr[-2:] == ["identical", ""]
    assert [float(text) for text in psnr[:-2]] == sorted(float(text) for text in psnr[:-2])
    psnr = sorted_by("PSNR")
    assert (psnr[0], psnr[-1]) == ("identical", "")  # what has none stays last
    prompts = sorted_by("prompt")
    assert prompts[0] == "blue number 2"
    assert prompts[1] == "blue number 6"  # numbers in words as numbers
    assert prompts[-1] == f"{SORTS[3]} number {COUNT - 1}"
    chosen = "const s = document.getElementById('column'); s.value = {}; s.dispatchEvent(new Event('change'))"
    browser.execute_script(chosen.format(heads.index("seed")))
    assert column(browser, 1)[0] == "0"
    browser.execute_script("document.getElementById('direction').click()")
    assert column(browser, 1)[0] == str(COUNT - 1)


def test_words_of_prompts_filter_table_and_cards(long_page, browser):
    browser.get(long_page.as_uri())
    box = browser.find_element("id", "words")
    cards = "return [...document.querySelectorAll('.case')].filter(c => !c.hidden).length"
    count = "return document.getElementById('count').textContent"
    for words, number in (("zebra", 10), ("ZEBRA 3", 5), ("none such", 0), ("", COUNT)):
        browser.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", box, words
        )
        assert len(column(browser, 0)) == browser.execute_script(cards) == number
        assert browser.execute_script(count) == f"{number} of {COUNT} videos"


def test_a_phone_shows_a_long_page(long_page, browser):
    browser.set_window_size(400, 850)
    browser.get(long_page.as_uri())
    inner, scroll = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert scroll <= inner
    table = "const t = document.querySelector('.long'); return [t.clientWidth, t.scrollWidth]"
    shown, wide = browser.execute_script(table)
    assert wide <= shown
    label = (
        "const cells = document.querySelector('#videos tbody tr').cells;"
        "return [0, 1].map(i => getComputedStyle(cells[i], '::before').content)"
    )
    assert browser.execute_script(label) == ["none", '"seed"']
    ready(browser, "case-3")
    browser.save_screenshot(str(long_page.parent / "phone.png"))
