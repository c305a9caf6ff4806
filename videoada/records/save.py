"""A run saved: the video and its record beside it, both or neither."""

from __future__ import annotations

import json
import time
from pathlib import Path

from videoada.files import written_aside
from videoada.media.encoding import rounded_rate
from videoada.media.outputs import Encoding, check_output, record_path
from videoada.media.video import Video
from videoada.records.record import RunRecord


def save_run(
    video: Video, record: RunRecord, path: str | Path, *, metadata: bool = True, load_seconds: float = 0.0,
    codec: str | None = None, crf: int | None = None,
) -> RunRecord:  # fmt: skip
    """The record with the time that writing took; the video is at `path`, the record beside it as NAME.json.

    The ending says the format: .mp4 and .mov (H.264), .webm (VP9), .mkv and .webp (lossless), .gif, none for a folder
    of PNG frames; `codec` is another that the format holds (h264, vp9, av1, ffv1), `crf` the quality of a lossy one;
    where neither is given they are the request's. With `metadata` the record is inside the video, too. Raises
    OutputError where nothing can be written, ConfigError for a codec or quality that the format has not; then nothing
    is.

        [(video, record)] = videoada.generate(pipe, prompt="…", seed=7)
        videoada.save_run(video, record, "clip.mp4")
    """
    path = check_output(path)
    encoding = Encoding.of(record.request) if codec is None and crf is None else Encoding(codec, crf)
    encoding.check(path.suffix.lower())
    record = as_saved(record, path.suffix.lower(), encoding)
    began = time.perf_counter()
    with written_aside(record_path(path)) as record_aside, written_aside(path) as aside:
        video.encode(aside, metadata_of(record) if metadata else None, encoding)
        record = with_seconds(
            record, load=load_seconds or record.seconds.get("load", 0.0), write=time.perf_counter() - began
        )
        record_aside.write_text(record.to_json(indent=2) + "\n", encoding="utf-8")
    return record


def as_saved(record: RunRecord, ending: str, encoding: Encoding) -> RunRecord:
    """The record of a video that is saved so: it asks for that codec and quality, and says what the file can't hold."""
    request = record.request.model_copy(update={"codec": encoding.codec, "crf": encoding.crf})
    rounded = rounded_rate(ending, request.fps) if request.fps is not None else None
    not_used = [*record.not_used, *([rounded] if rounded else [])]
    return record.model_copy(update={"request": request, "not_used": not_used})


def metadata_of(record: RunRecord) -> str:
    """What a video carries inside: the record as one line of JSON."""
    return json.dumps(record.model_dump(mode="json"), allow_nan=False)


def with_seconds(record: RunRecord, **stages: float) -> RunRecord:
    """The record with the seconds of these stages, and their new total."""
    seconds = record.seconds | {name: round(value, 4) for name, value in stages.items()}
    seconds["total"] = round(sum(value for name, value in seconds.items() if name != "total"), 4)
    return record.model_copy(update={"seconds": seconds})
