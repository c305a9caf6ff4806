"""What `videoada render` must not touch: other people's files in its folder, and folders that another command uses."""

from __future__ import annotations

import shutil

import pytest
from prompt_files import OWN, PROMPTS, here, names

from videoada.config.prompts import PromptEntry
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, OutputError
from videoada.files import model_folder
from videoada.rendering.folder import RenderFolder
from videoada.rendering.jobs import plan_jobs
from videoada.rendering.locks import NameLocks
from videoada.rendering.manifest import check_links, index
from videoada.rendering.naming import check_id


@pytest.fixture
def one_prompt(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text(PROMPTS[0])
    return path


def test_a_folder_named_videos_that_holds_other_files_stays(one_prompt, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "videos").mkdir(parents=True)
    (out / "videos" / "mine.mp4").write_bytes(b"mine")
    code, _, err = here(capsys, one_prompt, out, "--naming", "vbench")
    assert (code, err.count("\n"), "holds other files" in err) == (2, 1, True)
    assert names(out) == {"videos", "videos/mine.mp4"}
    shutil.rmtree(out)
    out.mkdir()
    (out / "videos").write_text("a file")
    assert here(capsys, one_prompt, out, "--naming", "vbench")[0] == 2
    assert (out / "videos").read_text() == "a file"


def test_links_and_copies_of_videos_are_made_anew(tmp_path):
    folder = RenderFolder(tmp_path / "out", ".mp4")
    (folder.path / "videos").mkdir()
    (folder.path / "videos" / "gone.mp4").symlink_to("../gone.mp4")
    (folder.path / "copy.mp4").write_bytes(b"new")
    (folder.path / "videos" / "copy.mp4").write_bytes(b"old")
    check_links(folder.path)
    index(folder, "vbench")
    assert names(folder.path / "videos") == set()
    (folder.path / "videos" / "x.mp4").symlink_to("/etc/hosts")
    with pytest.raises(ConfigError, match="holds other files"):
        check_links(folder.path)
    folder.close()


def test_a_folder_of_pictures_under_a_videos_name_stays(one_prompt, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "0000").mkdir(parents=True)
    (out / "0000" / "photo.png").write_bytes(b"mine")
    few = ["--steps", "1", "--num-frames", "1"]
    assert here(capsys, one_prompt, out, *few)[0] == 0
    assert names(out) == {"0000", "0000/photo.png", "0000.mp4", "0000.json", *OWN}
    flags = ["--format", "frames", "--overwrite", "--max-retries", "0"]
    code, summary, _ = here(capsys, one_prompt, out, *few, *flags)
    assert (code, "holds other files" in summary["failures"][0]["error"]) == (1, True)
    assert (out / "0000" / "photo.png").read_bytes() == b"mine"


def test_two_commands_with_other_settings_begun_together(tmp_path):
    first, second = RenderFolder(tmp_path / "out"), RenderFolder(tmp_path / "out")
    first.settle({"seed": 0})
    second.settle({"seed": 0})
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"another command is rendering .*`seed=0`"):
            second.settle({"seed": 1}, overwrite)
    first.close()
    second.settle({"seed": 1})  # nothing was drawn, and nobody is there
    second.close()


def test_no_locks_no_rendering(tmp_path, monkeypatch):
    monkeypatch.setattr("videoada.rendering.locks.fcntl", None)
    with pytest.raises(OutputError, match="WSL"):
        NameLocks(tmp_path / "lock")


def test_names_of_models_and_ids():
    assert model_folder("tiny-t2v") == "tiny-t2v"
    found = {model_folder(name) for name in ("/a/b", "/a-b", "../a/b", "org/name", "org-name", "..", "a b")}
    assert len(found) == 7
    assert not any("/" in name or name.startswith(".") for name in found)
    assert check_id("x.webp.mp4") == "x"


def test_the_total_is_told_before_the_first_video(tmp_path):
    from videoada.rendering.engines.here import Here
    from videoada.rendering.render import render
    from videoada.rendering.worker import WorkerPlan

    settings, seen = RunSettings(steps=1, num_frames=1), []
    jobs = plan_jobs([PromptEntry(1, None, {"prompt": PROMPTS[0]})], settings)
    folder, watcher = RenderFolder(tmp_path / "out"), RenderFolder(tmp_path / "out")
    engine = Here(WorkerPlan(str(tmp_path / "out"), ".mp4", "tiny-t2v", settings.loading()))
    submit = engine.submit
    engine.submit = lambda batch: (seen.extend(watcher.notes()), submit(batch))[1]
    render(jobs, folder, engine)
    assert [note["videos"] for note in seen] == [1]
    for each in (engine, folder, watcher):
        each.close()
