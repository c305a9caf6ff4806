"""What a queue's events cost: processor time of runs as a worker makes them, with events, previews and a live file,
against `generate` alone, in interleaved pairs; and what of it previews and live file take, timed by themselves.

    python scripts/experiments/event_cost.py --pairs 9 --model emoji-t2v
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import videoada
from videoada.config.settings import RunSettings
from videoada.generation.previews import Previews
from videoada.rendering.queue.jobs import QueuedJob
from videoada.rendering.queue.queue import RenderQueue
from videoada.rendering.queue.work import Live


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--prompt", default="a red circle moving right on a black background")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--previews", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipe = videoada.load_pipeline(given.model, device="cpu")
    settings = RunSettings(prompt=given.prompt, model=given.model)
    requests, skip = settings.requests(), settings.skip()
    apart: list[float] = []  # seconds of previews, and of what follows an event
    look = Previews.look

    def timed(previews: Previews, report: Any) -> list[Any]:
        began = time.process_time()
        frames = look(previews, report)
        apart.append(time.process_time() - began)
        return frames

    Previews.look = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        queue = RenderQueue(Path(folder) / "queue")
        [id] = queue.add([settings])
        job = queue.job(id)
        assert isinstance(job, QueuedJob)

        def plain() -> str | None:
            [(_, record)] = videoada.generate(pipe, requests, skip=skip)
            return record.frames_sha256

        def as_worker() -> str | None:
            live = Live(queue, job)
            found = None
            for event in videoada.generate_events(pipe, requests, skip=skip, previews=given.previews):
                began = time.process_time()
                live.heed(event)
                if isinstance(event, videoada.StepTaken):
                    live.stopped()
                apart.append(time.process_time() - began)
                if isinstance(event, videoada.VideoDone):
                    found = event.record.frames_sha256
            return found

        runs = {"generate": plain, "worker": as_worker}
        frames = {name: run() for name, run in runs.items()}
        apart.clear()
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for pair in range(given.pairs):
            for name in list(runs)[:: 1 if pair % 2 else -1]:
                began = time.process_time()
                runs[name]()
                seconds[name].append(time.process_time() - began)
        queue.close()
    shares = [w / g - 1 for g, w in zip(seconds["generate"], seconds["worker"], strict=True)]
    print(f"{given.model}: the same frames: {len(set(frames.values())) == 1}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"median seconds of the processor: generate {medians['generate']:.3f}, worker {medians['worker']:.3f}")
    print(f"previews and live file, by themselves: {sum(apart) / sum(seconds['worker']):.1%}")
    middle, least, most = statistics.median(shares), min(shares), max(shares)
    print(f"{given.pairs} pairs: {middle:+.1%} (median), {least:+.1%} to {most:+.1%}")


if __name__ == "__main__":
    main()
