"""The models that videoada knows by name: where they come from, under which licence, and what they need."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from videoada.config.run import SchedulerName
from videoada.errors import ModelError

WAN = "the extra `wan`"  # which brings what its prompts are cleaned with
ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class KnownModel:
    """`source` is a folder name under assets/ for an embedded model, a hub id otherwise; `size` is its videos'.

    The numbers are the settings recommended for it, which a run takes where nothing is said; `height`, `width` and
    `text_tokens`, the length of its texts, where its pipeline's own are others. Licences, sizes and numbers are those
    of the models' cards and of diffusers' pages on them, memory what the cards say.
    """

    name: str
    task: str
    source: str
    licence: str
    needs: str
    size: str
    embedded: bool = False
    num_inference_steps: int = 50
    guidance_scale: float = 9.0
    num_frames: int = 16
    fps: int = 8
    scheduler: SchedulerName | None = "ddim"  # None: as the checkpoint has it
    height: int | None = None
    width: int | None = None
    dtype: str = "float16"  # on a GPU
    text_tokens: int | None = None

    @property
    def location(self) -> str:
        return str(ASSETS / self.source) if self.embedded else self.source


KNOWN = {
    model.name: model
    for model in (
        KnownModel(
            "tiny-t2v", "text to video", "tiny-t2v", "Apache-2.0",
            needs="nothing: it is inside the package and runs on a CPU", size="64×64, 16 frames", embedded=True,
        ),
        KnownModel(
            "tiny-i2v", "image to video", "tiny-i2v", "Apache-2.0",
            needs="nothing: it is inside the package and runs on a CPU", size="64×64, 16 frames", embedded=True,
        ),
        KnownModel(
            "emoji-t2v", "text to video", "emoji-t2v", "MIT",
            needs="nothing: it is inside the package and runs on a CPU", size="128×128, 16 frames", embedded=True,
            guidance_scale=6.0,
        ),
        KnownModel(
            "tiny-wan", "text to video", "tiny-wan", "Apache-2.0",
            needs="nothing: it is inside the package and runs on a CPU", size="64×64, 17 frames", embedded=True,
            guidance_scale=3.0, num_frames=17, scheduler=None, height=64, width=64, text_tokens=32,
        ),
        KnownModel(
            "modelscope-t2v", "text to video", "ali-vilab/text-to-video-ms-1.7b", "CC-BY-NC-4.0",
            needs="8 GB of download, half of it with variant fp16; a GPU to be quick", size="256×256, 16 frames",
        ),
        KnownModel(
            "i2vgen-xl", "image to video", "ali-vilab/i2vgen-xl", "MIT",
            needs="10 GB of download, half of it with variant fp16; a GPU to be quick", size="704×1280, 16 frames",
        ),
        KnownModel(
            "wan-2.1-1.3b", "text to video", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Apache-2.0",
            needs=f"a GPU of 8 GB with offload; 1.4 G parameters and a text encoder of 5.7 G; {WAN}",
            size="480×832, 81 frames", guidance_scale=5.0, num_frames=81, fps=16, scheduler=None, dtype="bfloat16",
        ),
        KnownModel(
            "wan-2.2-5b", "text to video", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "Apache-2.0",
            needs=f"a GPU of 24 GB with offload; 5 G parameters and a text encoder of 5.7 G; {WAN}",
            size="704×1280, 121 frames", guidance_scale=5.0, num_frames=121, fps=24, scheduler=None, height=704,
            width=1280, dtype="bfloat16",
        ),
        KnownModel(  # its card has a guidance of 3 for the second network; a request has one for both
            "wan-2.2-a14b", "text to video", "Wan-AI/Wan2.2-T2V-A14B-Diffusers", "Apache-2.0",
            needs=f"a GPU of 80 GB, with offload; two networks of 14 G parameters; {WAN}", size="720×1280, 81 frames",
            num_inference_steps=40, guidance_scale=4.0, num_frames=81, fps=16, scheduler=None, height=720, width=1280,
            dtype="bfloat16",
        ),
        KnownModel(
            "ltx-video", "text to video", "Lightricks/LTX-Video", "LTX-Video Open Weights License",
            needs="a GPU; 2 G parameters and a text encoder of 4.8 G", size="512×704, 161 frames",
            guidance_scale=3.0, num_frames=161, fps=25, scheduler=None, dtype="bfloat16",
        ),
        KnownModel(
            "cogvideox-2b", "text to video", "zai-org/CogVideoX-2b", "Apache-2.0",
            needs="a GPU of 19 GB, less with offload and VAE tiling; 2 G parameters and a text encoder of 4.8 G",
            size="480×720, 49 frames", guidance_scale=6.0, num_frames=49, scheduler=None,
        ),
        KnownModel(
            "cogvideox-5b", "text to video", "zai-org/CogVideoX-5b", "CogVideoX License",
            needs="a GPU of 26 GB, less with offload and VAE tiling; 5 G parameters and a text encoder of 4.8 G",
            size="480×720, 49 frames", guidance_scale=6.0, num_frames=49, scheduler=None, dtype="bfloat16",
        ),
        KnownModel(
            "hunyuan-video", "text to video", "hunyuanvideo-community/HunyuanVideo",
            "Tencent Hunyuan Community License",
            needs="a GPU of 60 GB, 80 GB are better, with offload and VAE tiling; 13 G parameters; its licence leaves "
            "out the EU, the UK and South Korea",
            size="720×1280, 129 frames", guidance_scale=6.0, num_frames=129, fps=15, scheduler=None, dtype="bfloat16",
        ),
        KnownModel(
            "svd-xt", "image to video", "stabilityai/stable-video-diffusion-img2vid-xt",
            "Stability AI Community License",
            needs="a GPU; the hub may ask to accept its terms; variant fp16 halves the download; takes no prompt",
            size="576×1024, 25 frames", num_inference_steps=25, guidance_scale=3.0, num_frames=25, fps=7,
            scheduler=None,
        ),
        KnownModel(
            "zeroscope", "text to video", "cerspense/zeroscope_v2_576w", "CC-BY-NC-4.0",
            needs="a GPU of 8 GB; a converted copy, as the hub has only .bin weights",
            size="320×576, 24 frames", num_frames=24, scheduler=None, height=320, width=576,
        ),
    )
}  # fmt: skip
EMBEDDED = tuple(model.name for model in KNOWN.values() if model.embedded)


def known_model(name: str) -> KnownModel | None:
    """The entry of that name or hub id."""
    return next((m for m in KNOWN.values() if name in (m.name, m.source)), None)


def named_model(name: str) -> KnownModel:
    """The entry of that name or hub id. Raises ModelError, which names those that are near."""
    if model := known_model(name):
        return model
    raise ModelError(f"unknown model '{name}'; {did_you_mean(name)}choose {', '.join(KNOWN)}")


def did_you_mean(name: str) -> str:
    """A question that names the known models that are spelt like `name`, with a space after it; empty if none is."""
    near = [f"'{other}'" for other in difflib.get_close_matches(name, KNOWN, n=2)]
    return f"did you mean {' or '.join(near)}? " if near else ""


def is_cached(model: KnownModel) -> bool:
    """Whether the model can be loaded without a network."""
    if model.embedded:
        return (ASSETS / model.source / "model_index.json").is_file()
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model.source, "model_index.json"), str)
