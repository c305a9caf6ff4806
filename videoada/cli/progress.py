"""How a render is shown: a bar where somebody looks, a plain line now and then where nobody does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from videoada.cli.app import as_flags
from videoada.errors import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from videoada.rendering.render import Progress
    from videoada.rendering.worker import Outcome

EVERY = 15.0  # seconds between plain lines


@contextlib.contextmanager
def render_bar(console: Console) -> Iterator[Callable[[Progress, Outcome | None], None]]:
    """The callback that `render` calls with its progress; failures are reported as they happen."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    def report(outcome: Outcome | None) -> None:
        if outcome is not None and outcome.state in ("failed", "lost"):
            console.print(f"[yellow]{outcome.state}:[/] {escape(outcome.name)}: {escape(as_flags(outcome.error))}")

    if console.quiet or not console.is_terminal:
        last = time.monotonic()

        def line(progress: Progress, outcome: Outcome | None) -> None:
            nonlocal last
            report(outcome)
            if (now := time.monotonic()) - last >= EVERY:
                last = now
                console.print(f"{progress.done} of {counted(progress.total, 'video')}, {figures(progress)}")

        yield line
        return
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console) as bar:
        task: TaskID | None = None

        def update(progress: Progress, outcome: Outcome | None) -> None:
            nonlocal task
            report(outcome)
            if task is None:  # shown once generation begins
                task = bar.add_task("", total=progress.total, figures="")
            bar.update(task, completed=progress.done, figures=figures(progress))

        yield update


def figures(progress: Progress) -> str:
    """Pace, predictions, what was saved, failures, and how long it will take still."""
    parts = []
    if pace := progress.videos_a_minute:
        parts.append(f"{pace:.1f} a minute")
    if progress.generated:
        parts.append(f"{progress.predictions / progress.generated:.1f} predictions")
        parts.append(f"saved {duration(progress.seconds_saved)}")
    if progress.failed:
        parts.append(f"{len(progress.failed)} failed")
    if (left := progress.seconds_left) is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """1:02:03, 2:03 or 3 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
