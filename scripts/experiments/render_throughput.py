"""How much of the machine `videoada render` keeps busy: its videos a minute against bare denoising and decoding.

    python scripts/experiments/render_throughput.py    # 8 prompts of tiny-t2v at 20 steps, 5 pairs, one process

Bare is the diffusers pipeline with skipping, prompt after prompt, frames thrown away. Both sides of a pair use the same
loaded pipeline and run one after the other, in turns; the median ratio counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from videoada.config.prompts import read_entries
from videoada.config.settings import RunSettings
from videoada.models.call import call_pipeline
from videoada.models.schedulers import scheduler_of
from videoada.rendering.engines.here import Here
from videoada.rendering.folder import RenderFolder
from videoada.rendering.jobs import Job, batches, plan_jobs
from videoada.rendering.manifest import index
from videoada.rendering.render import render
from videoada.rendering.worker import Worker, WorkerPlan
from videoada.skipping.skip_steps import skip_steps


def bare(worker: Worker, jobs: list[Job], batch_size: int) -> float:
    began = time.perf_counter()
    for batch in batches(jobs, batch_size):
        requests = [job.request for job in batch]
        with scheduler_of(worker.pipe, requests[0].scheduler), skip_steps(worker.pipe, batch[0].skip):
            call_pipeline(worker.pipe, requests)
    return time.perf_counter() - began


def rendered(engine: Here, jobs: list[Job], batch_size: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        own, folder = engine.worker.folder, RenderFolder(name)
        engine.worker.folder = folder
        began = time.perf_counter()
        progress = render(jobs, folder, engine, batch_size=batch_size)
        index(folder)
        seconds = time.perf_counter() - began
        assert progress.generated == len(jobs)
        folder.close()
        engine.worker.folder = own
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--prompts", type=Path, default=Path("samples/prompts.txt"))
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    settings = RunSettings(model=args.model, steps=args.steps)
    jobs = plan_jobs(read_entries(args.prompts)[: args.limit], settings)
    with tempfile.TemporaryDirectory() as name:
        engine = Here(WorkerPlan(name, ".mp4", args.model, settings.loading()))
        bare(engine.worker, jobs[:1], 1)  # warm-up: what either side loads once
        rendered(engine, jobs[:1], 1)
        pairs = []
        for i in range(args.pairs):
            sides = {}
            for side in ("bare", "render") if i % 2 == 0 else ("render", "bare"):
                run = (lambda: bare(engine.worker, jobs, args.batch_size)) if side == "bare" else (
                    lambda: rendered(engine, jobs, args.batch_size))  # fmt: skip
                sides[side] = run()
            pairs.append(sides)
            ratio = sides["bare"] / sides["render"]
            print(f"bare {sides['bare']:.2f} s, render {sides['render']:.2f} s, ratio {ratio:.3f}", flush=True)
        engine.close()
    ratio = statistics.median(pair["bare"] / pair["render"] for pair in pairs)
    pace = statistics.median(60 * len(jobs) / pair["render"] for pair in pairs)
    print(json.dumps({"model": args.model, "videos": len(jobs), "batch_size": args.batch_size,
                      "videos_a_minute": round(pace, 1), "share_of_bare": round(ratio, 3)}))  # fmt: skip


if __name__ == "__main__":
    main()
