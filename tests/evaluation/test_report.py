"""videoada report: the page itself, untrusted text in it, and the page in a real browser."""

from __future__ import annotations

import html
import json
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from commandline import command
from made_videos import PROMPTS, noisy, record

import videoada
from videoada.evaluation.frame_psnr import psnr_by_frame, psnr_chart
from videoada.evaluation.report import write_report
from videoada.evaluation.result import EvaluationResult
from videoada.media.video import Video
from videoada.records.find import find_record
from videoada.shapes import render

HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked=2"> & "quotes" {{ 7 * 7 }} $x^2$'
FIDELITY = {"psnr": 31.5, "psnr_frame_mean": 32.0, "psnr_worst_frame": 28.0, "ssim": 0.98, "tof": 0.1,
            "identical": False, "speedup": 1.9, "latent_error": [0.0, 0.01, 0.02, 0.03]}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two folders, an evaluation and its report; one prompt is an attack."""
    root = tmp_path_factory.mktemp("report")
    prompts = [*PROMPTS[:3], HOSTILE]
    for folder in ("full", "skipped"):
        (root / folder).mkdir()
    for seed, prompt in enumerate(prompts):
        full = render(PROMPTS[seed], seed=seed)
        Video(full).write(root / "full" / f"{seed}.mp4", record(prompt, seed, "none").to_json())
        kept = record(prompt, seed, fidelity=FIDELITY | {"psnr": 30.0 + seed})
        Video(noisy(full, level=1 + 3 * seed)).write(root / "skipped" / f"{seed}.mkv", kept.to_json())
    result = videoada.evaluate(root / "skipped", root / "full", any_codec=True)
    (root / "result.json").write_text(result.model_dump_json())
    write_report(root / "report.html", result)
    return root


class Reader(HTMLParser):
    """Tags, attributes and scripts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.players, self.links, self.handlers = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "data-src":
                self.players.append(value)
            if name in ("src", "href"):
                self.links.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def test_the_page_is_whole_and_stands_alone(page):
    text = (page / "report.html").read_text()
    reader = Reader(text)
    assert len(reader.players) == 8
    assert all(player.startswith("data:video/mp4;base64,") for player in reader.players)
    assert reader.tags.count("canvas") == text.count("PSNR frame by frame, ") / 2 == 4  # for eyes and for readers
    assert text.count('class="chart"') == 3
    assert reader.links == [f"#case-{i}" for i in range(4)]
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    for part in ("FVD[tiny-shapes-v1]", "KVD[tiny-shapes-v1]", "PSNR (pooled)", "a small embedded model", PROMPTS[0]):
        assert part in text
    rows = EvaluationResult.from_file(page / "result.json").videos
    places = [text.index(row.video) for row in sorted(rows, key=lambda row: row.fidelity["psnr"])]  # the worst first
    assert places == sorted(places)


def test_prompts_are_text_and_nothing_else(page):
    text = (page / "report.html").read_text()
    reader = Reader(text)
    assert reader.tags.count("script") == 1
    assert not reader.handlers
    assert "img" not in reader.tags
    assert "&lt;script&gt;window.hacked" in text
    assert "{{ 7 * 7 }}" in text


def test_the_command_writes_reports(page, tmp_path):
    def run(*args, code=0):
        return command("report", *args, code=code)

    run("--evaluation", page / "result.json", "--output", tmp_path / "a.html", "--cases", 1, "--title", "<b>T")
    text = (tmp_path / "a.html").read_text()
    assert len(Reader(text).players) == 2
    assert "&lt;b&gt;T" in text
    run(page / "skipped", "--output", tmp_path / "b.html", "--videos", "none")  # records alone, with their own fidelity
    text = (tmp_path / "b.html").read_text()
    assert not Reader(text).players
    assert "latents are from the full run" in text
    assert "1.90" in text
    run(page / "full", "--output", page / "c.html", "--videos", "link")
    text = (page / "c.html").read_text()
    assert "full/0.mp4" in Reader(text).players
    assert text.count('data-poster="data:image/jpeg') == len(Reader(text).players)
    (tmp_path / "empty").mkdir()
    for args, message in (
        ([], "give videos"),
        ([page / "skipped", "--evaluation", page / "result.json"], "not both"),
        (["--evaluation", page / "full" / "0.mp4"], "can't read"),
        (["--evaluation", tmp_path / "none.json"], "does not exist"),
        ([tmp_path / "empty"], "holds no videos"),
        ([page / "skipped", "--videos", "perhaps"], "choose from embed, link, none"),
        ([page / "skipped", "--output", "x.pdf"], "--output: 'x.pdf' must end in .html"),
    ):
        done = run(*args, code=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    strange = tmp_path / "strange.json"
    strange.write_text(json.dumps({"schema_version": 1}))
    assert "is no result of `videoada evaluate --output`" in run("--evaluation", strange, code=2).stderr


def test_reports_of_few_metrics_and_of_folders_that_are_gone(page, tmp_path):
    result = videoada.evaluate(page / "skipped", page / "full", metrics=("ms-ssim",), any_codec=True)
    write_report(tmp_path / "few.html", result)
    moved = result.model_copy(update={"generated": result.generated.model_copy(update={"path": "/nowhere"})})
    write_report(tmp_path / "gone.html", moved)
    text = (tmp_path / "gone.html").read_text()
    assert "4 videos no longer where evaluated" in text
    assert not Reader(text).players
    assert "--from-record" not in text


def test_results_read_back(page):
    result = EvaluationResult.from_file(page / "result.json")
    assert len(result.videos) == 4
    assert result.model_dump_json() == (page / "result.json").read_text()


# ---- what was not used, the command, PSNR by frame ------------------------------------------------------------------


def test_what_was_not_used_is_said_by_video_and_in_all(tmp_path):
    unused = "`guidance_rescale=0.7`: <b>no scheduler</b> takes it"
    (tmp_path / "runs").mkdir()
    for seed in range(3):
        kept = record(PROMPTS[0], seed, not_used=[unused] if seed else [])
        Video(render(PROMPTS[0], seed=seed)[:2]).write(tmp_path / "runs" / f"{seed}.mkv", kept.to_json())
    write_report(tmp_path / "page.html", folders=[tmp_path / "runs"], videos="none")
    text = html.unescape((tmp_path / "page.html").read_text())
    assert text.count(f"not used: {unused}") == 2
    assert f"{unused} (2 videos)" in text
    assert "<b>no" not in (tmp_path / "page.html").read_text()


def test_the_command_names_the_video_from_the_pages_folder_in_any_shell(tmp_path):
    folder = tmp_path / "it's <b> & $HOME"
    folder.mkdir()
    kept = record(PROMPTS[0], 3)
    Video(render(PROMPTS[0], seed=3)[:2]).write(folder / "-a b.mkv", kept.to_json())
    kept = record(PROMPTS[0], 4, image="sha256:" + "0" * 64, image_sha256="0" * 64)
    Video(render(PROMPTS[0], seed=4)[:2]).write(folder / "image.mkv", kept.to_json())
    write_report(folder / "page.html", folders=[folder], videos="none")
    text = (folder / "page.html").read_text()
    assert "<b>" not in text.split("<h2>")[1]
    commands = [html.unescape(found) for found in re.findall(r"<code>(.*?)</code>", text)]
    assert [shlex.split(found) for found in commands] == [
        ["videoada", "generate", "--from-record", "./-a b.mkv", "--output", "again.mkv"]
    ]
    assert "no command repeats it: the record" in html.unescape(text)  # image.mkv
    write_report(tmp_path / "page.html", folders=[folder], videos="none")
    (command,) = re.findall(r"<code>(.*?)</code>", (tmp_path / "page.html").read_text())
    named = shlex.split(html.unescape(command))[3]
    assert find_record(tmp_path / named).request.seed == 3


def test_psnr_by_frame_is_that_of_the_plain_formula(tmp_path):
    full = render(PROMPTS[1], seed=1)[:5]
    skipped = noisy(full, level=3)
    skipped[2] = full[2]
    for name, frames in (("a.mkv", full), ("b.mkv", skipped), ("short.mkv", full[:4]), ("small.mkv", full[:, :32])):
        Video(frames).write(tmp_path / name)
    (tmp_path / "broken.mkv").write_bytes(b"0" * 100)
    found = psnr_by_frame(tmp_path / "b.mkv", tmp_path / "a.mkv")
    error = np.square(full.astype(float) - skipped).mean((1, 2, 3))
    assert found[2] is None
    for i in (0, 1, 3, 4):
        assert found[i] == pytest.approx(10 * np.log10(255**2 / error[i]), abs=1e-9)
    for other in ("short.mkv", "small.mkv", "broken.mkv"):
        assert psnr_by_frame(tmp_path / other, tmp_path / "a.mkv") is None
    assert psnr_chart([None, None]) is None


def test_the_worst_frame_is_marked_also_where_a_long_line_is_thinned():
    values = [40.0] * 2001
    values[777], values[778] = 20.0, None
    chart = psnr_chart(values)
    assert chart["worst"] == 777
    assert chart["label"] == "PSNR frame by frame, 20.0 to 40.0 dB; worst: frame 778 of 2001; 1 equal"
    points = chart["points"].split()
    assert len(points) <= 400
    assert f"{chart['x']},{chart['y']:g}" in points


def test_the_verdict_names_what_fails(page, tmp_path):
    text = (page / "report.html").read_text()
    section = text.split("<h2>Verdict</h2>")[1].split("<h2>")[0]
    assert "fail: " in section
    assert "worst SSIM" in section
    assert "motion ratio: not measured" in section
    assert '<span class="soft">verdict</span><b>fail</b>' in text
    same = videoada.evaluate(page / "full", page / "full", metrics=("psnr", "ssim", "motion-ratio"))
    write_report(tmp_path / "same.html", same, videos="none")
    section = (tmp_path / "same.html").read_text().split("<h2>Verdict</h2>")[1].split("<h2>")[0]
    assert "pass, by the limits that ship" in section
    assert "<td>fail</td>" not in section
    alone = videoada.evaluate(page / "full", metrics=("coherence",))
    write_report(tmp_path / "alone.html", alone, videos="none")
    assert "<h2>Verdict</h2>" not in (tmp_path / "alone.html").read_text()
