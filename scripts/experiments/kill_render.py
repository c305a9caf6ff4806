"""Kill `videoada render` again and again, resume it each time, and compare the end with an undisturbed run.

    python scripts/experiments/kill_render.py                    # 200 videos, 30 kills, two processes: about 20 minutes
    python scripts/experiments/kill_render.py --engine ray --kills 3    # a Ray cluster of two nodes; nodes are killed

At random moments a worker or the whole command (the driver, or a node of the cluster) gets `kill -9`. In the end there
must be as many complete videos and records, nothing else, and frames identical to those that one undisturbed process
generates.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from videoada.media.video import Video
from videoada.records.record import RunRecord
from videoada.shapes import random_scene

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # equal numbers of threads on both sides


class Render:
    """`videoada render` in a process group of its own."""

    def __init__(self, prompts: Path, out: Path, flags: list[str]):
        self.command = [sys.executable, "-m", "videoada", "render", str(prompts), "--out", str(out), *flags]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL)


def kill_worker(run: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """A process that the command started, if it has any yet."""
    try:
        workers = [p for p in psutil.Process(run.pid).children() if "resource_tracker" not in " ".join(p.cmdline())]
        rng.choice(workers).kill()
    except (psutil.Error, IndexError):
        return False
    return True


def start(render: Render, cluster: Cluster | None) -> subprocess.Popen[bytes]:
    """On a cluster, before its second node is there: the command must not be connected to one that will be killed."""
    if cluster is None:
        return render.start()
    cluster.shrink()
    run = render.start()
    time.sleep(8)
    cluster.grow()
    return run


def disturb(render: Render, kills: int, rng: random.Random, wait: tuple[float, float], cluster: Cluster | None) -> None:
    """Run to the end, killing on the way."""
    done = 0
    run = start(render, cluster)
    while True:
        try:
            code = run.wait(rng.uniform(*wait) if done < kills else None)
        except subprocess.TimeoutExpired:
            if cluster is not None and rng.random() < 0.7:
                cluster.kill_node()
                what = "a node"
            elif cluster is None and rng.random() < 0.5 and kill_worker(run, rng):
                what = "a worker"
            else:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                what = "the command"
                run = start(render, cluster)
            done += 1
            print(f"kill {done} of {kills}: {what}", flush=True)
        else:
            if code != 0:
                raise SystemExit(f"render ended with {code}")
            print(f"finished after {done} kills", flush=True)
            if done < kills:
                raise SystemExit(f"that is less than {kills}: give more --videos, or a shorter --wait")
            return


def compare(out: Path, peace: Path, count: int) -> None:
    """Exactly the videos, whole, with their records, and the frames of the undisturbed run."""
    names = {p.stem for p in peace.glob("*.mkv")}
    assert len(names) == count, f"{len(names)} videos were generated undisturbed, not {count}"
    own = {"render.json", "manifest.jsonl", "summary.json"}
    expected = {f"{name}{ending}" for name in names for ending in (".mkv", ".json")} | own
    found = {str(p.relative_to(out)) for p in out.rglob("*")}
    assert found == expected, f"left over: {sorted(found - expected)}; missing: {sorted(expected - found)}"
    for name in sorted(names):
        one, other = (RunRecord.from_file(folder / f"{name}.json") for folder in (out, peace))
        assert one.computed == other.computed, f"{name}: other steps were computed"
        assert Video.read(out / f"{name}.mkv").sha256() == one.frames_sha256 == other.frames_sha256, f"{name} differs"
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [row["file"] for row in manifest] == sorted(f"{name}.mkv" for name in names)
    print(f"{count} videos and records, nothing left over, all frames identical")


class Cluster:
    """A Ray head node on this machine and a second node, of one CPU each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        os.environ |= {"OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        self.nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
        self.address, self.second = self.nodes.address, None

    def grow(self) -> None:
        self.second = self.nodes.add_node(num_cpus=1)

    def shrink(self) -> None:
        if self.second is not None:
            self.nodes.remove_node(self.second, allow_graceful=False)
            self.second = None

    def kill_node(self) -> None:
        self.shrink()
        self.grow()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"), help="what it holds is removed")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--wait", type=float, nargs=2, default=(3.0, 20.0), help="seconds between kills")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    rng = np.random.default_rng(args.seed)
    prompts = args.folder / "prompts.txt"
    prompts.write_text("".join(f"{random_scene(rng, 1 + i % 2)}\n" for i in range(args.videos)))
    common = ["--steps", str(args.steps), "--format", "mkv", "--quiet"]
    began = time.monotonic()
    if (code := Render(prompts, args.folder / "peace", common).start().wait()) != 0:
        raise SystemExit(f"the undisturbed run ended with {code}")
    print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    cluster = Cluster() if args.engine == "ray" else None
    flags = ["--engine", "ray", "--address", cluster.address, "--workers", "2"] if cluster else ["--workers", "2"]
    render = Render(prompts, args.folder / "disturbed", [*common, *flags])
    disturb(render, args.kills, random.Random(args.seed), tuple(args.wait), cluster)
    compare(args.folder / "disturbed", args.folder / "peace", args.videos)


if __name__ == "__main__":
    main()
