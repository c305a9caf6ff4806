"""A folder of videos to learn from: what each shows, and what a network answers to it under noise."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from videoada.config.encodings import read_text
from videoada.config.prompts import read_requests
from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, PromptError, counted
from videoada.media.finding import search_videos
from videoada.media.video import Video
from videoada.records.find import find_record
from videoada.training.exit_losses import Features, watched


def captioned(
    folder: Path, on_message: Callable[[str], None] | None = None, **common: Any
) -> list[tuple[Path, GenerationConfig]]:
    """Videos and what they show: the prompt of the run record, else the text file beside, else the words of the name.

    With a record the seed is the video's own, so that the same video would be generated again. `on_message` is given a
    line for each kind of thing in the folder that is not read.
    """
    found: list[tuple[Path, GenerationConfig]] = []
    sought = search_videos(folder, recursive=None)
    if on_message:
        for text in sought.not_read:
            on_message(f"not used: {text}")
    for path in sought.videos:
        caption = path.with_suffix(".txt")
        try:
            record = find_record(path)
            prompt, seed = record.request.prompt, record.request.seed
        except PromptError:
            words = read_text(caption, "a caption", PromptError) if caption.is_file() else path.stem.replace("_", " ")
            prompt, seed = " ".join(words.split()), len(found)
        try:
            found.append((path, GenerationConfig(prompt=prompt, seed=seed, **common)))
        except ConfigError as error:
            raise PromptError(
                f"{str(path)!a}: {error}: rename it, or put a .txt with what it shows beside it"
            ) from None
    return found


def requests_in(
    path: Path, on_message: Callable[[str], None] | None = None, leave_out: Collection[str] = ("fps",), **common: Any
) -> list[GenerationConfig]:
    """Of a prompt file, or of what the videos of a folder show; `on_message` is given lines of what is not used,
    columns to `leave_out` among it."""
    if path.is_dir():
        return [request for _, request in captioned(path, on_message, **common)]
    return read_requests(path, on_message=on_message, leave_out=leave_out, **common)


@torch.no_grad()
def encoded(pipe: Any, path: Path, num_frames: int) -> Tensor:
    """(C, F, h, w): latents of a video's first frames, cut to the model's own size around their centre.

    Raises PromptError for a video with fewer frames than `num_frames`, OutputError for one that can't be read.
    """
    frames = Video.read(path).frames[:num_frames]
    if len(frames) < num_frames:
        raise PromptError(f"{path} has {counted(len(frames), 'frame')}; the model generates {num_frames}")
    size, scale = pipe.unet.config.sample_size, pipe.vae_scale_factor
    height, width = (side * scale for side in (size if isinstance(size, list | tuple) else (size, size)))
    fitted = np.stack([np.asarray(ImageOps.fit(Image.fromarray(frame), (width, height))) for frame in frames])
    pixels = to_tensor(fitted).to(pipe.vae.device, pipe.vae.dtype)
    latents = torch.cat([pipe.vae.encode(part).latent_dist.mean for part in pixels.split(4)])
    return (latents * pipe.vae.config.scaling_factor).transpose(0, 1)


@torch.no_grad()
def noised_calls(
    pipe: Any, latents: Tensor, prompts: list[str], timesteps: list[int], seed: int
) -> list[tuple[int, Features]]:
    """What the exits see and the network answers at each timestep for (N, C, F, h, w) under one noise; rows without
    text and then with the prompts, as guidance asks."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    device, dtype, alphas = pipe.unet.device, pipe.unet.dtype, pipe.scheduler.alphas_cumprod
    texts = torch.cat([pipe.encode_prompt(each, device, 1, False)[0] for each in ([""] * len(prompts), prompts)])
    kept = []
    with watched(pipe.unet) as seen:
        for t in timesteps:
            a = alphas[t]
            noised = (a.sqrt() * latents.float().cpu() + (1 - a).sqrt() * noise).to(device, dtype)
            pipe.unet(torch.cat([noised, noised]), t, encoder_hidden_states=texts.to(dtype), return_dict=False)
            kept.append((t, seen.pop().to(torch.float16, "cpu")))
    return kept


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
