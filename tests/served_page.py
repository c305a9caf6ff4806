"""`videoada ui` as its user starts it, in a process of its own, and a browser on its page."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from browsing import wait_for
from processes import heed_interrupts


class Page:
    """A server on a folder; `address` is what it says. To be used as a context: workers end with it, too."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder, self.options, self.port = folder, options, port
        self.address = ""
        self.said: list[str] = []

    def __enter__(self) -> Page:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pid in workers(self.folder):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not workers(self.folder))

    def start(self) -> None:
        command = [sys.executable, "-m", "videoada", "ui", str(self.folder), "--no-open", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *self.options], stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.said = []
        threading.Thread(target=lambda: self.said.extend(iter(self.process.stderr.readline, "")), daemon=True).start()
        found = wait_for(lambda: re.search(r"http://\S+", "".join(self.said)) or self.process.poll(), 120)
        assert isinstance(found, re.Match), self.said
        self.address = found.group()
        self.port = int(self.address.rsplit(":", 1)[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def workers(folder: Path) -> list[int]:
    """The processes of workers on a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if "videoada.rendering.queue.start" in words and str(folder.absolute()) in words:
            found.append(int(path.parent.name))
    return found


def records(folder: Path) -> list[dict]:
    """The records of a folder's videos, the oldest first."""
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    values = [json.loads(path.read_text()) for path in found]
    return [value for value in values if "job_sha256" in value]


# ---- in the browser --------------------------------------------------------------------------------------------------


def open_page(browser, page, width=1200, height=900):
    browser.set_window_size(width, height)
    browser.get(page.address)
    wait_for(lambda: browser.execute_script("return window.videoada && document.querySelector('.va.videos')"), 60)
    wait_for(lambda: browser.execute_script("return document.querySelector('#prompt textarea')"), 60)


def write(browser, control, text):
    """Type into a control of the form in place of what is there."""
    from selenium.webdriver.common.keys import Keys

    [box, *_] = wait_for(lambda: browser.find_elements("css selector", f"#{control} textarea, #{control} input"))
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    for i, line in enumerate(text.split("\n")):
        if i:
            box.send_keys(Keys.ENTER)
        box.send_keys(line)


def press(browser, selector):
    wait_for(lambda: browser.find_elements("css selector", selector))
    script = "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'}); e.click()"
    browser.execute_script(script, selector)


def unfold(browser, panel):
    """Open a folded panel of the form, as soon as it answers."""
    script = """const head = [...document.querySelectorAll('#form button.label-wrap')]
        .find(b => b.textContent.trim().startsWith(arguments[0]));
        if (head && !head.classList.contains('open')) head.click();
        return head?.parentElement.querySelector('[id^=set-] input, [id^=set-] textarea');"""
    wait_for(lambda: browser.execute_script(script, panel))


def texts(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())", selector
    )


def notice(browser):
    return " ".join(texts(browser, "#notice p"))


def number(browser):
    """Of the line beside the button: another with each that is said."""
    return browser.execute_script("return document.querySelector('#notice p')?.dataset.number")


def generate(browser, prompts, **settings):
    """Ask for videos with the form, and wait until the page says that they are in the queue."""
    write(browser, "prompt", prompts)
    for name, value in settings.items():
        write(browser, f"set-{name}" if name != "seed" else "seed", str(value))
    before = number(browser)
    press(browser, "#generate")
    wait_for(lambda: number(browser) != before, 120)
    return notice(browser)


def plays(browser, count=1):
    """Whether so many players of the large video play."""
    moving = "return [...document.querySelectorAll('.large video')].filter(v => v.currentTime > 0 && !v.paused).length"
    return browser.execute_script(moving) == count
