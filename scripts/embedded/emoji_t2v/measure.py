"""How good a model of emoji is, by three measures that were defined before any model was measured.

1. Agreement: the nearest training clip of a generated video, in features of a VAE (`vae:emoji-t2v`), among all subjects
   on the prompt's background from every start, shows the prompt's subject. By chance it is one of the subjects.
2. Coherence: the share of generated videos whose frames hang together (`videoada.metrics.check_coherence`).
3. Denoising loss: mean squared error of the predicted noise for training clips (subject, background, start), noise and
   timesteps that a fixed seed chooses apart from training, without guidance.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from emoji_t2v.clips import BACKGROUNDS, Clips, parse_prompt, prompt_of
from videoada.errors import ConfigError
from videoada.files import results_folder, written_aside
from videoada.media.finding import find_videos
from videoada.media.video import Video
from videoada.metrics import check_coherence
from videoada.metrics.features import Extractor
from videoada.models.denoisers import device_of
from videoada.models.vae_features import VaeFeatures, load_vae_extractor, pool_latents
from videoada.records.find import find_record
from videoada.training.run import read_tensors

HELD_OUT = 7_000_000  # seed of the samples, which no training uses
Row = dict[str, Any]


def measure(
    pipe: Any, videos: Path, clips: Clips, kept: Path, extractor_model: str = "emoji-t2v", samples: int = 64
) -> Row:
    """All three measures, of `pipe` and of videos in a folder with their records; features of training clips stay in
    the folder `kept`."""
    extractor = load_vae_extractor(extractor_model)
    if not isinstance(extractor.network, VaeFeatures) or extractor.network.is_video:
        raise ConfigError(f"agreement needs a VAE that encodes single frames; that of '{extractor_model}' does not")
    rows = [measure_video(path, extractor, clips, kept) for path in find_videos(videos)]
    judged = [row for row in rows if row["rank"] is not None]
    return {
        "videos": rows,
        "agreement": share([row["rank"] == 1 for row in judged]),
        "agreement_in_5": share([row["rank"] <= 5 for row in judged]),
        "median_rank": float(np.median([row["rank"] for row in judged])) if judged else None,
        "subjects": len(set(clips.subjects)),
        "coherence": share([row["coherent"] for row in rows]),
        "denoising": denoising_loss(pipe, clips, samples) if samples else None,
        "extractor": {"name": extractor.name, "weights_sha256": extractor.weights_sha256},
    }


def share(passed: list[bool]) -> Row:
    """A share with its 95 % interval (Wilson's, which is no point where all or none passed)."""
    count, z = len(passed), 1.96
    if not count:
        return {"value": None, "interval": None, "n": 0}
    value = sum(passed) / count
    center = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
    return {"value": value, "interval": [max(center - half, 0.0), min(center + half, 1.0)], "n": count}


# ---- generated videos ----------------------------------------------------------------------------------------------


def measure_video(path: Path, extractor: Extractor, clips: Clips, kept: Path) -> Row:
    """Coherence of a video, and the rank of its prompt's subject among all by their nearest training clips: 1 for the
    nearest, None for a prompt of another form."""
    frames, prompt = Video.read(path).frames, find_record(path).request.prompt
    found = check_coherence(frames)
    row = {"video": path.name, "prompt": prompt, "coherent": bool(found["passed"]), "failed": found["failed"],
           "nearest": None, "rank": None}  # fmt: skip
    parsed = parse_prompt(prompt)
    if parsed is None or parsed[0] not in clips.subjects:
        return row
    features = extractor(torch.from_numpy(frames).permute(0, 3, 1, 2)[None])[0]
    windows = clip_features(clips, parsed[1], extractor, kept)  # (N, L, D)
    distances = (windows - features).square().sum(-1).amin(1)
    names = list(dict.fromkeys(clips.subjects[i] for i in distances.argsort().tolist()))
    return row | {"nearest": names[0], "rank": 1 + names.index(parsed[0])}


@torch.inference_mode()
def clip_features(clips: Clips, background: str, extractor: Extractor, kept: Path) -> Tensor:
    """Features (N, L, D) of every clip on a background from every start; read again from the folder `kept`."""
    name = f"features-{background}-{extractor.weights_sha256[:12]}-{clips.sha256()[:12]}.safetensors"
    file = results_folder(kept) / name
    if file.is_file():
        return read_tensors(file)["features"]
    every = torch.arange(clips.loop, device=clips.alpha.device)
    index = torch.full_like(every, list(BACKGROUNDS).index(background))
    windows = clips.window(every).cpu()  # (L, 16)
    rows = []
    for i in range(len(clips)):
        x = clips.compose(torch.full_like(every, i), every, index).cpu()
        rows.append(pool_latents(extractor.network.latents(x[None])[0][windows]))
        if i % 100 == 99:
            print(f"clips on {background}: {i + 1} of {len(clips)}", flush=True)
    with written_aside(file) as aside:
        save_file({"features": torch.stack(rows)}, aside)
    return torch.stack(rows)


# ---- denoising -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def denoising_loss(pipe: Any, clips: Clips, samples: int, batch: int = 4) -> Row:
    """Mean squared error of the predicted noise over so many samples, its standard error, and its parts by timesteps.

    Timesteps are spread evenly, one at random in each of `samples` equal parts of the schedule.
    """
    rng = torch.Generator().manual_seed(HELD_OUT)
    device, alpha_bar = device_of(pipe), pipe.scheduler.alphas_cumprod
    clip, background, start = (
        torch.randint(most, (samples,), generator=rng) for most in (len(clips), len(BACKGROUNDS), clips.loop)
    )
    t = ((torch.arange(samples) + torch.rand(samples, generator=rng)) * len(alpha_bar) / samples).long()
    errors = []
    for first in range(0, samples, batch):
        part = slice(first, first + batch)
        on = clips.alpha.device
        frame = clips.window(start[part].to(on))  # (B, 16)
        x = clips.compose(clip[part, None].to(on), frame, background[part, None].to(on)).to(device, pipe.vae.dtype)
        x0 = pipe.vae.encode(x.flatten(0, 1)).latent_dist.mean * pipe.vae.config.scaling_factor
        x0 = x0.unflatten(0, frame.shape).transpose(1, 2).float()  # (B, 4, 16, h, w)
        epsilon = torch.randn(x0.shape, generator=rng).to(device)
        pairs = zip(clip[part].tolist(), background[part].tolist(), strict=True)
        prompts = [prompt_of(clips.subjects[c], list(BACKGROUNDS)[b]) for c, b in pairs]
        ids = pipe.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
        a = alpha_bar[t[part]].to(device).view(-1, 1, 1, 1, 1)
        states = pipe.text_encoder(ids).last_hidden_state.to(pipe.unet.dtype)
        x_t = (a.sqrt() * x0 + (1 - a).sqrt() * epsilon).to(pipe.unet.dtype)
        preds = pipe.unet(x_t, t[part].to(device), states, return_dict=False)[0]
        errors.append((preds.float() - epsilon).square().mean((1, 2, 3, 4)).cpu())
    error = torch.cat(errors).double()
    thirds = [part.mean().item() for part in error.tensor_split(3)]
    spread = (error - torch.cat([part.mean().expand(len(part)) for part in error.tensor_split(3)])).std().item()
    return {
        "value": error.mean().item(), "standard_error": spread / len(error) ** 0.5, "n": len(error),
        "little_noise": thirds[0], "middle": thirds[1], "much_noise": thirds[2],
    }  # fmt: skip


def table(found: Row) -> str:
    """The measures as Markdown."""

    def line(name: str, row: Row) -> str:
        if row["value"] is None:
            return f"| {name} | not measured | | 0 |"
        low, high = row["interval"]
        return f"| {name} | {row['value']:.1%} | {low:.0%} to {high:.0%} | {row['n']} |"

    lines = [
        "| measure | value | 95 % interval, ± s.e. | n |",
        "|---|---|---|---|",
        line(f"agreement: nearest of {found['subjects']} subjects", found["agreement"]),
        line("agreement within the nearest five", found["agreement_in_5"]),
        line("coherence passed", found["coherence"]),
    ]
    if loss := found["denoising"]:
        error = f"± {loss['standard_error']:.4f}"
        lines.append(f"| denoising loss (mean squared error in ε) | {loss['value']:.4f} | {error} | {loss['n']} |")
        lines += [f"| … {name.replace('_', ' ')} | {loss[name]:.4f} | | |"
                  for name in ("little_noise", "middle", "much_noise")]  # fmt: skip
    return "\n".join(lines)
