"""`inspect` and `report` of records that other tools wrote: what they lack is left out, not an error."""

from __future__ import annotations

import json

import pytest
from commandline import command
from made_videos import PROMPTS, record, write

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
