"""What a page shows of the queue and the gallery: each video as a card, rendered when it changes, and one large.

Prompts, names and errors are untrusted text: the templates escape all of them. No path of this machine is in a card.
"""

from __future__ import annotations

import functools
import re
import secrets
import threading
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2

from videoada.errors import VideoAdaError
from videoada.evaluation import frame_psnr
from videoada.generation.describe import describe, describe_pair
from videoada.models.catalogue import known_model
from videoada.records.record import RunRecord
from videoada.rendering.queue.entry import QueueEntry
from videoada.rendering.queue.queue import RenderQueue
from videoada.ui.form import as_labels

AGE = 0.5  # seconds that what was read of the folder serves all browsers
LETTERS = {"C": "computed", "S": "skipped", "R": "taken again"}
ACTIVE = ("waiting", "running")
# Of an absolute path all but its last part, on POSIX systems and on Windows.
FOLDERS = re.compile(r"(?<![\w/.:])/(?:[^\s/:'\"]+/)+|\b[A-Za-z]:\\(?:[^\s\\:'\"]+\\)+")
HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
PLAYERS = Path(frame_psnr.__file__).parent / "templates"  # the report's, which the page shares


class Videos:
    """The entries of a queue as cards. Thread-safe; `number` counts the changes seen, `run` names this count."""

    def __init__(self, queue: RenderQueue) -> None:
        self.queue, self.run = queue, secrets.token_hex(8)
        self.libraries = threading.Lock()  # to be held where diffusers may be imported: two threads at once can't
        self.lock = threading.Lock()
        self.read = -AGE
        self.entries: dict[str, QueueEntry] = {}
        self.seen: dict[str, tuple[tuple[Any, ...], int]] = {}  # what a card shows, and the number of its last change
        self.number = 0
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([TEMPLATES, PLAYERS]), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )  # fmt: skip

    def look(self, now: bool = False) -> None:
        """Read the queue, unless that was done just before."""
        with self.lock:
            if not now and time.monotonic() - self.read < AGE:
                return
            self.entries = {_key(entry): entry for entry in self.queue.entries() if entry.full_of is None}
            self.read = time.monotonic()
            for id in self.seen.keys() - self.entries.keys():
                del self.seen[id]
                self.number += 1
            for id, entry in self.entries.items():
                shown = _shown(entry)
                if id not in self.seen or self.seen[id][0] != shown:
                    self.number += 1
                    self.seen[id] = shown, self.number

    def entry(self, id: str) -> QueueEntry | None:
        """The entry of that id of the page, which came from a browser: it is looked up and is part of no path."""
        self.look()
        return self.entries.get(id)

    @property
    def active(self) -> bool:
        """Whether there is work: a video that waits or runs, or its full run."""
        self.look()
        return any(part.state in ACTIVE for e in self.entries.values() for part in (e, e.full) if part)

    def changes(self, since: int, run: str) -> dict[str, Any]:
        """What changed after the change `since` of the count `run`: `videos` with their cards, and `order`, all ids."""
        self.look()
        if run != self.run:
            since = -1
        if since == self.number:
            return {"run": self.run, "number": self.number}
        with self.lock:
            changed = [(self.entries[id], number) for id, (_, number) in self.seen.items() if number > since]
            order = list(self.entries)
            number = self.number
        videos = [
            {"id": _key(e), "state": e.state, "prompt": e.prompt, "number": n, "html": self.card(e)} for e, n in changed
        ]
        return {"run": self.run, "number": number, "order": order, "videos": videos}

    def card(self, entry: QueueEntry) -> str:
        """A video in the queue or the gallery, as HTML."""
        return self.environment.get_template("card.html").render(self._facts(entry))

    def large(self, entry: QueueEntry) -> str:
        """A video with all that is known of it, as HTML: its player, or both in step where its full run is there."""
        facts = self._facts(entry)
        record = _record(entry)
        full = entry.full if entry.full and entry.full.state == "done" and entry.full.video else None
        of_full = _record(full) if full else None
        case = None
        if entry.video and record:
            values = _psnr(entry.video, full.video) if full and full.video else None
            chart = frame_psnr.psnr_chart(values) if values else None
            label = "with skipping" if full else "video"
            sources = [*([("full", "full run")] if full else []), ("file", label)]
            case = {
                "players": [
                    {"src": f"videos/{_key(entry)}/{name}", "label": text, "poster": None, "copy": False}
                    for name, text in sources
                ],
                "frames": record.num_frames, "aspect": f"{record.width}/{record.height}", "psnr": chart, "strip": None,
            }  # fmt: skip
        return self.environment.get_template("large.html").render(
            facts, case=case, compared=full is not None,
            pair=describe_pair(record, of_full) if record and of_full else [],
            lines=[self.plain(line) for line in describe(record)] if record else [],
            notes=[self.plain(line) for line in (*record.warnings, *map("not used: {}".format, record.not_used))]
            if record else [],
        )  # fmt: skip

    def plain(self, message: object) -> str:
        """A library's message for the page: one line, with the form's labels, of paths the last part alone."""
        return FOLDERS.sub("", as_labels(str(message)))

    def _facts(self, entry: QueueEntry) -> dict[str, Any]:
        steps = entry.steps
        num_steps = entry.num_steps or len(steps)
        counts = Counter(steps)
        saved = len(steps) - entry.predictions if steps else 0
        words = [f"{counts[letter]} {what}" for letter, what in LETTERS.items() if counts[letter]]
        if len(steps) < num_steps:
            words.append(f"{num_steps - len(steps)} to come")
        full = entry.full
        return {
            "id": _key(entry), "prompt": entry.prompt, "model": _named(entry.model), "state": entry.state,
            "strip": steps, "to_come": max(0, num_steps - len(steps)), "words": ", ".join(words),
            "predictions": entry.predictions, "saved": saved, "num_steps": num_steps, "left": _left(entry.seconds_left),
            "error": self.plain(entry.error) if entry.error else "", "has_video": entry.video is not None,
            "seed": entry.settings.get("seed"), "comparing": bool(full and full.state in ACTIVE),
            "loading": entry.loading,
            "full": None if full is None else {
                "state": full.state, "steps": len(full.steps), "num_steps": full.num_steps or 0,
                "left": _left(full.seconds_left), "error": self.plain(full.error) if full.error else "",
            },
            "picture": _stamp(entry), "picture_there": bool(_stamp(entry)),
        }  # fmt: skip


def _named(model: str) -> str:
    """A model as the page names it: small embedded ones as such, a folder without where it is."""
    known = known_model(model)
    if known is not None and known.embedded:
        return f"{known.name} (small embedded model)"
    return Path(model).name if Path(model).is_absolute() else model


def _key(entry: QueueEntry) -> str:
    """A queue's id, which may be any text, as one that fits into an address and names no file."""
    return sha256(entry.id.encode()).hexdigest()[:24]


def _shown(entry: QueueEntry) -> tuple[Any, ...]:
    """All that a card shows of an entry."""
    full = entry.full
    return (
        entry.state, entry.loading, entry.steps, entry.num_steps, _left(entry.seconds_left), entry.error,
        _stamp(entry), entry.video is not None,
        full and (full.state, full.steps, _left(full.seconds_left), full.error, full.video is not None),
    )  # fmt: skip


def _stamp(entry: QueueEntry) -> str:
    """Changes when the picture of an entry does; part of its address, so that browsers may keep it."""
    path = entry.preview if entry.state in ACTIVE else entry.video or entry.preview
    try:
        return f"{path.stat().st_mtime_ns:x}" if path else ""
    except OSError:  # it has just gone
        return ""


def _left(seconds: float | None) -> str:
    """About how long something takes: rounded, so that it does not change all the time."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"about {max(1, round(seconds))} s left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"


@functools.lru_cache(maxsize=64)
def _validated(text: str) -> RunRecord | None:
    try:
        return RunRecord.model_validate_json(text)
    except (ValueError, VideoAdaError):
        return None


def _record(entry: QueueEntry) -> RunRecord | None:
    """The record of a video that is done; None where it can't be read."""
    import json

    return _validated(json.dumps(entry.record)) if entry.record else None


def _psnr(video: Path, full: Path) -> list[float | None] | None:
    try:
        return _psnr_of(video, full, video.stat().st_mtime_ns, full.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=32)
def _psnr_of(video: Path, full: Path, *_: int) -> list[float | None] | None:
    return frame_psnr.psnr_by_frame(video, full)
