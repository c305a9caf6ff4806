"""What the page costs: videos generated through `videoada ui`, with a browser that looks on, against `videoada render`
of the same prompts, in blocks by turns. Needs Chromium, chromedriver, and an idle machine.

    python scripts/experiments/page_cost.py --model tiny-t2v --blocks 5 --videos 4
    python scripts/experiments/page_cost.py --model emoji-t2v --blocks 3 --videos 2
    python scripts/experiments/page_cost.py --model emoji-t2v --close      # the browser is closed, or elsewhere
    python scripts/experiments/page_cost.py --model emoji-t2v --first      # seconds until the first video plays

A run's time is `seconds.total` of its record, without loading; the first video of a block warms up and is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoada.models.vocabulary import vocabulary_of

PATIENCE = 1200.0  # seconds


@contextmanager
def page(folder: Path, model: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a page on the folder, as its user starts it."""
    command = [sys.executable, "-m", "videoada", "ui", str(folder), "--no-open", "--port", "0", "--model", model]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found is not None
        yield found.group(), server
    finally:
        server.terminate()
        server.wait()


@contextmanager
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--autoplay-policy=no-user-gesture-required"):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def until(found: Callable[[], Any], every: float = 0.1) -> Any:
    """What `found` answers once it is something. Raises TimeoutError."""
    end = time.monotonic() + PATIENCE
    while not (answer := found()):
        if time.monotonic() > end:
            raise TimeoutError("nothing came of it")
        time.sleep(every)
    return answer


def ask(driver: Any, prompts: list[str], seed: int) -> None:
    """Fill in the form and press its button."""
    from selenium.webdriver.common.keys import Keys

    for name, text in (("prompt", "\n".join(prompts)), ("seed", str(seed))):
        [box, *_] = until(lambda name=name: driver.find_elements("css selector", f"#{name} textarea, #{name} input"))
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text)
    driver.find_element("css selector", "#generate").click()


def seconds_of(folder: Path, seen: set[Path]) -> list[float]:
    """`seconds.total` of the records that are new in a folder, the oldest first."""
    files = sorted(set(folder.glob("*.json")) - seen, key=lambda path: path.stat().st_mtime_ns)
    values = [json.loads(path.read_text()) for path in files]
    seen.update(files)
    return [value["seconds"]["total"] for value in values if "job_sha256" in value]


def first(model: str, prompt: str) -> None:
    """From `videoada ui` until the page answers, and until its first video plays."""
    with tempfile.TemporaryDirectory() as aside, browser() as driver:
        began = time.monotonic()
        with page(Path(aside) / "page", model) as (address, _):
            driver.get(address)
            until(lambda: driver.find_elements("css selector", "#prompt textarea"))
            shown = time.monotonic()
            ask(driver, [prompt], 0)
            until(lambda: "running" in driver.execute_script("return document.querySelector('.large').textContent"))
            loaded = "return /step \\d+ of/.test(document.querySelector('.large').textContent)"
            until(lambda: driver.execute_script(loaded))
            stepped = time.monotonic()
            plays = "return [...document.querySelectorAll('.large video')].some(v => v.currentTime > 0)"
            until(lambda: driver.execute_script(plays))
            done = time.monotonic()
            print(f"{model}: the page is there after {shown - began:.1f} s; its first video takes its first steps "
                  f"{stepped - shown:.1f} s after it was asked for and plays {done - shown:.1f} s after, "
                  f"{done - began:.1f} s after the command")  # fmt: skip
            stop_worker(Path(aside))


def stop_worker(folder: Path) -> None:
    subprocess.run(["pkill", "-f", f"videoada.rendering.queue.start.*{folder}"], check=False)
    time.sleep(1)


def shares(model: str, prompts: list[str], blocks: int, looked_at: bool) -> None:
    """Print the ratio of a run's time through the page and without it, block by block."""
    ratios = []
    for block in range(blocks):
        medians = {}
        for way in ("page", "render") if block % 2 else ("render", "page"):
            with tempfile.TemporaryDirectory() as aside:
                folder = Path(aside) / "videos"
                if way == "render":
                    (Path(aside) / "prompts.txt").write_text("\n".join(prompts) + "\n")
                    command = ["render", f"{aside}/prompts.txt", "--out", str(folder), "--model", model]
                    command = [sys.executable, "-m", "videoada", *command, "--seed", str(block)]
                    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                else:
                    with page(folder, model) as (address, _), browser() as driver:
                        driver.get(address)
                        ask(driver, prompts, block)
                        until(lambda driver=driver: "added" in driver.find_element("css selector", "#notice").text)
                        if not looked_at:
                            driver.quit()
                        until(lambda folder=folder: len(list(folder.glob("*.mp4"))) == len(prompts), 0.5)
                        time.sleep(1)
                        stop_worker(folder)
                seconds = seconds_of(folder, set())
                assert len(seconds) == len(prompts), seconds
                medians[way] = statistics.median(seconds[1:])
        ratios.append(medians["page"] / medians["render"])
        print(f"block {block}: page {medians['page']:.2f} s, render {medians['render']:.2f} s, {ratios[-1] - 1:+.1%}")
    middle, least, most = (found(ratios) - 1 for found in (statistics.median, min, max))
    print(f"{model}, {blocks} blocks of {len(prompts) - 1}: {middle:+.1%} (median), {least:+.1%} to {most:+.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--videos", type=int, default=4, help="in a block, beside one that warms up")
    parser.add_argument("--close", action="store_true", help="close the browser once it has asked")
    parser.add_argument("--first", action="store_true", help="time the first video instead")
    given = parser.parse_args()
    vocabulary = vocabulary_of(given.model)
    assert vocabulary is not None, "an embedded model"
    prompt = vocabulary.example
    if given.first:
        first(given.model, prompt)
    else:
        shares(given.model, [prompt] * (given.videos + 1), given.blocks, not given.close)


if __name__ == "__main__":
    main()
