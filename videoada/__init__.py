"""videoada: video diffusion with fewer noise predictions, decided for each prompt at each step.

The public names load what they need when they are first used: `import videoada` imports neither torch nor diffusers.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoada.benchmark import benchmark as benchmark
    from videoada.compare import compare as compare
    from videoada.config.run import GenerationConfig as GenerationConfig
    from videoada.config.run import LoadConfig as LoadConfig
    from videoada.config.run import SkipConfig as SkipConfig
    from videoada.errors import VideoAdaError as VideoAdaError
    from videoada.evaluate import evaluate as evaluate
    from videoada.evaluation import EvaluationConfig as EvaluationConfig
    from videoada.evaluation import EvaluationResult as EvaluationResult
    from videoada.generate import generate as generate
    from videoada.learned.early_exit import early_exit as early_exit
    from videoada.media.video import Video as Video
    from videoada.models.conditioning import encode_prompt as encode_prompt
    from videoada.models.pipelines import load_pipeline as load_pipeline
    from videoada.records.record import RunRecord as RunRecord
    from videoada.skipping.skip_steps import skip_steps as skip_steps
    from videoada.skipping.trace import StepTrace as StepTrace
    from videoada.timing import time_pairs as time_pairs

__version__ = "0.1.0"

_HOME = {
    "EvaluationConfig": "evaluation",
    "EvaluationResult": "evaluation",
    "GenerationConfig": "config.run",
    "LoadConfig": "config.run",
    "RunRecord": "records.record",
    "SkipConfig": "config.run",
    "StepTrace": "skipping.trace",
    "Video": "media.video",
    "VideoAdaError": "errors",
    "benchmark": "benchmark",
    "compare": "compare",
    "early_exit": "learned.early_exit",
    "encode_prompt": "models.conditioning",
    "evaluate": "evaluate",
    "generate": "generate",
    "load_pipeline": "models.pipelines",
    "skip_steps": "skipping.skip_steps",
    "time_pairs": "timing",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'videoada' has no attribute '{name}'")
    return getattr(import_module(f"videoada.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


class _Package(ModuleType):
    """`videoada.generate` is the function, also after Python's import has put the module of that name in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
