"""What people see on stderr: the bar, the step strip, the summary of a run."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videoada.cli.app import as_flags

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.generation.events import Event
    from videoada.records.record import RunRecord


def say_with(console: Console) -> Callable[[str], None]:
    """What prints a library's lines, with the flags of the parameters that they name."""
    from rich.markup import escape

    return lambda text: console.print(escape(as_flags(text)))


LONG = 0.1  # of the denoising: first calls that take more are reported


@contextlib.contextmanager
def step_bar(console: Console, num_steps: int) -> Iterator[Callable[[Event], None] | None]:
    """A bar of the events of a generation, with steps computed and skipped so far; nothing where nobody looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from videoada.generation.events import RunStarted, StepTaken

    if console.quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("denoising"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=num_steps, counts="")
        counts: Counter[str] = Counter()

        def heed(event: Event) -> None:
            if isinstance(event, RunStarted):  # of a batch all come before its first step
                counts.clear()
            elif isinstance(event, StepTaken) and event.state != "taken again":
                counts[event.state] += 1
                text = f"[green]{counts['computed']} computed[/] [cyan]{counts['skipped']} skipped[/]"
                progress.update(task, completed=event.step + 1, total=event.num_steps, counts=text)

        yield heed


def colour_strip(computed: Sequence[bool]) -> str:
    """One character for each step, in colour."""
    return "".join("[green]█[/]" if step else "[cyan]·[/]" for step in computed)


def show_record(console: Console, record: RunRecord, path: Path | None = None) -> None:
    """The step strip, what was saved, what it cost in fidelity, and where the time went."""
    from rich.markup import escape

    from videoada.media.outputs import record_path

    share = 100 * (1 - record.num_predictions / max(record.num_inference_steps, 1))
    stages = " · ".join(f"{name} {value:.2f}" for name, value in record.seconds.items() if name != "total")
    console.print(colour_strip(record.computed))
    console.print(
        f"predictions {record.num_predictions}/{record.num_inference_steps} ({share:.0f} % skipped)   "
        f"UNet rows {record.unet_rows}/{record.unet_rows_full}"
    )
    named = {"step_count": "fewer steps", "skipping": "skipping", "early_exit": "early exit"}
    if (parts := record.savings) and (parts.get("step_count") or parts.get("early_exit")):
        saved = ", ".join(f"{share:.0%} by {what}" for name, what in named.items() if (share := parts.get(name, 0)) > 0)
        computed = f"; {parts['computed']:.0%} computed" if "computed" in parts else ""
        console.print(f"multiply-adds saved: {saved or 'none'}{computed}")
    if fidelity := record.fidelity:
        likeness = "identical" if fidelity.get("identical") else f"PSNR {fidelity['psnr']:.1f} dB"
        speedup = fidelity.get("speedup")  # a record from elsewhere may lack it
        fast = f", {speedup:.2f}× as fast" if isinstance(speedup, (int, float)) else ""
        denoising = fidelity.get("speedup_denoising")
        fast += f" (the denoising alone {denoising:.2f}×)" if fast and isinstance(denoising, (int, float)) else ""
        console.print(f"against the full run: {likeness}, SSIM {fidelity['ssim']:.4f}{fast}")
    if coherence := record.coherence:
        failed = ", ".join(f"{name.replace('_', ' ')} {coherence[name]:.2g}" for name in coherence["failed"])
        console.print(f"coherence: {f'[yellow]failed[/] ({failed})' if failed else 'passed'}")
    console.print(f"seconds: {stages} · total {record.seconds.get('total', 0):.2f}")
    if record.first_call_seconds > LONG * record.seconds.get("denoise", 0.0):
        console.print(f"of the denoising {record.first_call_seconds:.2f} s were first calls of a size")
    for warning in record.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    for text in record.not_used:
        console.print(f"not used: {escape(as_flags(text))}")
    if path:
        console.print(escape(f"wrote {path} and {record_path(path).name}"))
