"""Film: the frames that a player shows of a file, in order, with their times; one rule of how many there are.

A film has as many frames as a full decoding of it shows: edit lists and trimmed starts are FFmpeg's, hidden packets
show nothing, and a variable frame rate neither repeats nor drops any. What FFmpeg would repair in silence is an error:
it conceals damage by repeating what it has, so that a measurement would be of frames that nobody generated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.failures import reading
from videoada.files import file_url
from videoada.media.films.colours import ToRGB
from videoada.media.films.cut_off import cut_off
from videoada.media.films.rates import as_number, constant_rate, mean_rate

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
LOSSLESS = ("ffv1", "huffyuv", "ffvhuff", "utvideo", "png", "rawvideo", "qtrle", "zlib")  # RGB among them, at least
LISTS = ("concat", "hls", "dash", "imf")
LOCAL = {"protocol_whitelist": "file"}  # a file that names others, as playlists do, opens nothing
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders of these leave transparency out
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
logging.getLogger("libav").addHandler(logging.NullHandler())  # FFmpeg's messages become errors, not lines on stderr


class Film:
    """One film file. `fps`, `num_frames`, `lossless`, `codec` and `notes` are known once `frames` has come to its end.

    `notes` are what somebody who measures the film should know: that its transparency lies on white, that its frame
    rate varies.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.fps: float = 8
        self.num_frames = 0
        self.lossless = False
        self.codec = ""
        self.notes: list[str] = []

    def frames(self, wanted: Callable[[int], bool] | None = None) -> Iterator[NDArray[np.uint8] | None]:
        """Each frame (H, W, 3) uint8, RGB; None for those whose number is not `wanted`, which are not converted.

        Raises OutputError for a film that is damaged, cut off, or has no frames.
        """
        to_rgb = ToRGB()
        times: list[int | None] = []
        size: tuple[int, ...] | None = None
        with reading(self.path):
            _check_complete(self.path)
            with opened(self.path) as container:
                stream = film_stream(container, self.path)
                for frame in _decoded(container, stream, self.path):
                    pixels = to_rgb(frame) if wanted is None or wanted(len(times)) else None
                    times.append(frame.pts)
                    if pixels is not None:
                        size = size or pixels.shape
                        if pixels.shape != size:
                            raise ValueError(
                                f"its frames change their size, from {size[1]}×{size[0]} to "
                                f"{pixels.shape[1]}×{pixels.shape[0]}: cut it there"
                            )
                    yield pixels
                if not times:
                    raise ValueError("it has no frames that can be shown")
                self._end(stream, times, to_rgb.transparent)
                self.notes += _of_stream(container, stream)

    def expected(self) -> int:
        """How many frames there seem to be, by its packets, without decoding any."""
        with reading(self.path):
            _check_complete(self.path)
        with opened(self.path) as container:
            packets = container.demux(film_stream(container, self.path))
            return sum(1 for packet in packets if packet.size and not packet.is_discard)

    def _end(self, stream: Any, times: list[int | None], transparent: bool) -> None:
        self.num_frames, self.notes = len(times), []
        self.lossless = stream.codec_context.name in LOSSLESS
        self.codec = str(stream.codec_context.codec.canonical_name)
        ticks = [tick for tick in times if tick is not None]
        rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
        known = [rate for rate in rates if rate]
        rate = constant_rate(ticks, stream.time_base, known) if len(ticks) == len(times) else next(iter(known), None)
        if rate is None:
            rate = mean_rate(ticks, stream.time_base)
            self.notes.append(
                f"its frame rate varies, {as_number(rate):g} a second on the average: its frames are taken one by one, "
                "each as one step"
            )
        self.fps = as_number(rate)
        if transparent:
            self.notes.append("its transparent pixels lie on white")


def _check_complete(path: Path) -> None:
    if missing := cut_off(path):
        raise OutputError(f"can't read a video from {path}: {missing}; get it again")


def _of_stream(container: Any, stream: Any) -> list[str]:
    """What a player would make of the frames that is not made of them here, and other films in the file."""
    notes = []
    shape = stream.sample_aspect_ratio
    if shape and shape != 1:
        notes.append(f"its pixels are {shape.numerator}:{shape.denominator}, not square: they are taken as they are")
    if curve := HDR.get(int(getattr(stream.codec_context, "color_trc", 0) or 0)):
        notes.append(f"its colours are HDR ({curve}): they are taken without tone mapping")
    others = [s for s in container.streams.video if s is not stream and "attached_pic" not in disposition(s)]
    if others:
        notes.append(f"it holds {len(others) + 1} films, of which the one of {stream.width}×{stream.height} is read")
    return notes


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The `av` container of a local file, by any name: never taken for a URL. Raises OutputError."""
    import av

    with reading(path):
        with errors_of_ffmpeg() as messages:
            try:
                container = av.open(file_url(path), options=LOCAL, metadata_errors="replace")
            except av.InvalidDataError:
                raise ValueError(
                    "it is of no form that is known, or its beginning is damaged: get it again, or convert it to .mp4"
                ) from None
        with container:
            if container.format.name == "image2":  # taken by the name's ending alone
                raise ValueError("it is no film, nor a picture of a form that is read")
            if container.format.name in LISTS:
                raise ValueError("it is a list that names other files: name these")
            for source, text in messages:
                if source in container.format.name:  # what decoders say while the file is probed comes again
                    raise ValueError(f"it is damaged ({source}: {text})")
            yield container


@contextmanager
def errors_of_ffmpeg() -> Iterator[list[tuple[str, str]]]:
    """The list holds, after the block, what FFmpeg reported as errors in this thread: (part of FFmpeg, text) each.

    PyAV reports a message that equals the last one later or never: what is damaged as the film before would be read.
    """
    import av.logging

    level = av.logging.get_level()
    if level is None or level < av.logging.ERROR:
        av.logging.set_level(av.logging.ERROR)
    if av.logging.get_skip_repeated():
        av.logging.set_skip_repeated(False)
        with av.logging.Capture(local=True):  # what was kept back until now is of something else
            av.logging.log(av.logging.ERROR, "videoada", "every message is reported from here on")
    found: list[tuple[str, str]] = []
    with av.logging.Capture(local=True) as messages:
        yield found
    found += [(source, " ".join(text.split())) for kind, source, text in messages if kind <= av.logging.ERROR]


def film_stream(container: Any, path: Path) -> Any:
    """The stream that a player shows: the ffmpeg command's choice, covers aside. Raises OutputError for sound alone."""
    streams = container.streams.video
    films = [stream for stream in streams if "attached_pic" not in disposition(stream)]
    if not films:
        what = "holds sound and a cover picture" if streams else "holds sound" if container.streams.audio else "holds"
        raise OutputError(f"{path} {what}{' alone,' if what != 'holds' else ''} no film: name a video")
    if not (films := [stream for stream in films if stream.codec_context is not None]):
        raise OutputError(f"{path} holds a film in a codec that FFmpeg does not know: convert it, or get it again")
    return max(films, key=lambda s: (s.width or 0) * (s.height or 0) + 5_000_000 * ("default" in disposition(s)))


def disposition(stream: Any) -> str:
    """The names of a stream's flags, as text."""
    return repr(getattr(stream, "disposition", ""))  # <Disposition.default: 1>


def _decoder(stream: Any) -> Any:
    """The stream's own decoder, or one that knows its transparency; strict."""
    import av

    decoder = stream.codec_context
    name = WITH_ALPHA.get(decoder.name)
    if name and stream.metadata.get("alpha_mode") == "1":
        with suppress(ValueError, LookupError):  # an FFmpeg built without it
            decoder = av.CodecContext.create(name, "r")
    decoder.options = STRICT
    decoder.thread_type = "NONE"  # FFV1 reports damage in a message only, which its own threads would lose
    return decoder


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Every shown `av.VideoFrame`. Where a film was cut without decoding it, its first packets may need others that are
    gone: players show nothing of those, and so do we."""
    import av

    decoder, packets, count, first_key, ended = _decoder(stream), container.demux(stream), 0, None, False
    while not ended:
        frames: list[Any] = []
        # a capture for each packet: two films that are read by turns would get each other's messages
        with errors_of_ffmpeg() as messages:
            packet = next(packets, None)
            if packet is None:
                break
            ended = not packet.size and packet.dts is None
            if not packet.size and not ended:  # stands for a frame that was dropped
                continue
            if first_key is None and packet.is_keyframe:
                first_key = packet.pts
            leading = not ended and (
                packet.is_discard or first_key is None or (packet.pts is not None and packet.pts < first_key)
            )
            problem: BaseException | None = None
            try:
                frames = decoder.decode(None if ended else packet)
            except av.FFmpegError as error:
                problem = error
        corrupt = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
        if (problem or messages or corrupt) and not leading:
            if isinstance(problem, MemoryError):
                raise problem
            words = f" ({messages[0][0]}: {messages[0][1]})" if messages else ""
            raise OutputError(
                f"can't read a video from {path}: it is damaged: frame {count + 1} can't be decoded{words}; get it "
                "again"
            )
        count += len(frames)
        yield from frames
