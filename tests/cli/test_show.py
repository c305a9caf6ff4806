"""`inspect` and `report` of records that other tools wrote: what they lack is left out, not an error."""

from __future__ import annotations

import io
import json
import re
import time

import pytest
from commandline import command
from made_videos import PROMPTS, record, write
from rich.console import Console

from videoada.cli.show import step_bar
from videoada.generation.events import RunStarted, StepTaken
from videoada.shapes import render

FIDELITY = {"psnr": 40.0, "psnr_worst_frame": 39.0, "ssim": 0.99, "identical": False}


EQUAL = {"psnr": None, "psnr_worst_frame": None, "ssim": 1.0, "identical": True}
SAVINGS = {"step_count": 0.1, "skipping": 0.2, "early_exit": 0.3, "computed": 0.4}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"savings": {}}, "predictions 3/4"),
        ({"savings": {"skipping": 0.25}}, "predictions 3/4"),
        ({"savings": {"step_count": 0.5}}, "multiply-adds saved: 50% by fewer steps\n"),
        ({"savings": {"computed": 0.5, "something": 0.5}}, "predictions 3/4"),
        (
            {"savings": SAVINGS},
            "30% by early exit; 40%",
        ),
        ({"fidelity": FIDELITY}, "PSNR 40.0 dB, SSIM 0.9900"),
        (
            {"fidelity": EQUAL},
            "identical, SSIM 1.0000",
        ),
        ({"coherence": {"passed": True, "failed": []}}, "coherence: passed"),
        ({"coherence": {"passed": False, "failed": ["still_share"], "still_share": 0.5}}, "still share 0.5"),
    ],
)
def test_a_record_with_other_keys_is_shown(fields, shown, tmp_path):
    write(tmp_path, "clip.mkv", render(PROMPTS[0], seed=0))
    kept = json.loads(record(PROMPTS[0], 0).to_json())
    (tmp_path / "clip.json").write_text(json.dumps(kept | fields))
    assert shown in command("inspect", tmp_path / "clip.json").stdout
    command("report", tmp_path, "--output", tmp_path / "report.html", "--videos", "none")
    if not fields.get("savings", {}).get("computed"):
        assert "computed" not in command("inspect", tmp_path / "clip.json").stdout
    kept["most_steps"] = 4  # a step policy's, for which the report has a tile of the savings
    (tmp_path / "clip.json").write_text(json.dumps(kept | fields))
    command("report", tmp_path, "--output", tmp_path / "report.html", "--videos", "none")


def test_the_bar_counts_the_steps_of_events_and_begins_again_with_another_run():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with step_bar(console, 4) as heed:
        for computed in ("CCSC", "CSSC"):  # of a batch of two, twice
            heed(RunStarted(0, PROMPTS[0], 4))
            for step, letter in enumerate(computed):
                for index in range(2):
                    heed(StepTaken(index, step, 4, "computed" if letter == "C" else "skipped", 1))
                    if step == 3:
                        heed(StepTaken(index, 2, 4, "taken again", 1))
            time.sleep(0.3)  # it is painted ten times a second
            shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out.getvalue())
    assert "4/4" in shown
    assert re.findall(r"(\d+) computed (\d+) skipped", shown)[-1] == ("4", "4")
    with step_bar(Console(file=io.StringIO()), 4) as nobody:
        assert nobody is None
