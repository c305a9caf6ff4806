"""videoada: video diffusion with fewer noise predictions, decided for each prompt at each step.

The public names load what they need when they are first used: `import videoada` imports neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoada.benchmarks.benchmark import benchmark as benchmark
    from videoada.benchmarks.timing import time_pairs as time_pairs
    from videoada.config.run import GenerationConfig as GenerationConfig
    from videoada.config.run import LoadConfig as LoadConfig
    from videoada.config.run import SkipConfig as SkipConfig
    from videoada.errors import VideoAdaError as VideoAdaError
    from videoada.evaluation.config import EvaluationConfig as EvaluationConfig
    from videoada.evaluation.evaluate import evaluate as evaluate
    from videoada.evaluation.result import EvaluationResult as EvaluationResult
    from videoada.generation.compare import compare as compare
    from videoada.generation.generate import generate as generate
    from videoada.learned.early_exit import early_exit as early_exit
    from videoada.media.video import Video as Video
    from videoada.models.conditioning import encode_prompt as encode_prompt
    from videoada.models.pipelines import load_pipeline as load_pipeline
    from videoada.records.record import RunRecord as RunRecord
    from videoada.skipping.skip_steps import skip_steps as skip_steps
    from videoada.skipping.trace import StepTrace as StepTrace

__version__ = "0.1.0"

_HOME = {
    "EvaluationConfig": "evaluation.config",
    "EvaluationResult": "evaluation.result",
    "GenerationConfig": "config.run",
    "LoadConfig": "config.run",
    "RunRecord": "records.record",
    "SkipConfig": "config.run",
    "StepTrace": "skipping.trace",
    "Video": "media.video",
    "VideoAdaError": "errors",
    "benchmark": "benchmarks.benchmark",
    "compare": "generation.compare",
    "early_exit": "learned.early_exit",
    "encode_prompt": "models.conditioning",
    "evaluate": "evaluation.evaluate",
    "generate": "generation.generate",
    "load_pipeline": "models.pipelines",
    "skip_steps": "skipping.skip_steps",
    "time_pairs": "benchmarks.timing",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'videoada' has no attribute '{name}'")
    return getattr(import_module(f"videoada.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
