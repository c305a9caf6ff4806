"""videoada: video diffusion with fewer noise predictions, decided for each prompt at each step.

The public names load what they need when they are first used: `import videoada` imports neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoada.config.loading import LoadConfig as LoadConfig
    from videoada.config.run import GenerationConfig as GenerationConfig
    from videoada.config.run import SkipConfig as SkipConfig
    from videoada.errors import ConfigError as ConfigError
    from videoada.errors import ImageError as ImageError
    from videoada.errors import MetricError as MetricError
    from videoada.errors import ModelError as ModelError
    from videoada.errors import OutputError as OutputError
    from videoada.errors import PromptError as PromptError
    from videoada.errors import ResourceError as ResourceError
    from videoada.errors import VideoAdaError as VideoAdaError
    from videoada.evaluation.config import EvaluationConfig as EvaluationConfig
    from videoada.evaluation.evaluate import evaluate as evaluate
    from videoada.evaluation.judging.limits import VerdictLimits as VerdictLimits
    from videoada.evaluation.judging.verdict import Verdict as Verdict
    from videoada.evaluation.judging.verdict import judge as judge
    from videoada.evaluation.report import write_report as write_report
    from videoada.evaluation.result import EvaluationResult as EvaluationResult
    from videoada.generation.compare import Comparison as Comparison
    from videoada.generation.compare import compare as compare
    from videoada.generation.events import Preview as Preview
    from videoada.generation.events import RunStarted as RunStarted
    from videoada.generation.events import StepTaken as StepTaken
    from videoada.generation.events import VideoDone as VideoDone
    from videoada.generation.generate import generate as generate
    from videoada.generation.stream import generate_events as generate_events
    from videoada.learned.early_exit import early_exit as early_exit
    from videoada.media.video import Video as Video
    from videoada.models.conditioning import encode_prompt as encode_prompt
    from videoada.models.pipelines import load_pipeline as load_pipeline
    from videoada.records.find import find_record as find_record
    from videoada.records.record import RunRecord as RunRecord
    from videoada.records.save import save_run as save_run
    from videoada.rendering.queue.entry import QueueEntry as QueueEntry
    from videoada.rendering.queue.queue import RenderQueue as RenderQueue
    from videoada.rendering.queue.start import start_worker as start_worker
    from videoada.rendering.queue.work import work_on_queue as work_on_queue
    from videoada.rendering.session import render_prompts as render_prompts
    from videoada.skipping.enable import disable as disable
    from videoada.skipping.enable import enable as enable
    from videoada.skipping.enable import summary as summary
    from videoada.skipping.module.apply_skipping import apply_skipping as apply_skipping
    from videoada.skipping.module.apply_skipping import remove_skipping as remove_skipping
    from videoada.skipping.module.trace import ModuleTrace as ModuleTrace
    from videoada.skipping.rules.decision import Decision as Decision
    from videoada.skipping.rules.decision import Policy as Policy
    from videoada.skipping.rules.decision import SkipState as SkipState
    from videoada.skipping.rules.predictors import Predictor as Predictor
    from videoada.skipping.skip_steps import skip_steps as skip_steps
    from videoada.skipping.trace import StepTrace as StepTrace

__version__ = "0.1.0"

_HOME = {
    "GenerationConfig": "config.run",
    "LoadConfig": "config.loading",
    "SkipConfig": "config.run",
    "ConfigError": "errors",
    "ImageError": "errors",
    "MetricError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "PromptError": "errors",
    "ResourceError": "errors",
    "VideoAdaError": "errors",
    "EvaluationConfig": "evaluation.config",
    "evaluate": "evaluation.evaluate",
    "VerdictLimits": "evaluation.judging.limits",
    "Verdict": "evaluation.judging.verdict",
    "judge": "evaluation.judging.verdict",
    "write_report": "evaluation.report",
    "EvaluationResult": "evaluation.result",
    "Comparison": "generation.compare",
    "compare": "generation.compare",
    "Preview": "generation.events",
    "RunStarted": "generation.events",
    "StepTaken": "generation.events",
    "VideoDone": "generation.events",
    "generate_events": "generation.stream",
    "generate": "generation.generate",
    "early_exit": "learned.early_exit",
    "Video": "media.video",
    "encode_prompt": "models.conditioning",
    "load_pipeline": "models.pipelines",
    "find_record": "records.find",
    "RunRecord": "records.record",
    "save_run": "records.save",
    "QueueEntry": "rendering.queue.entry",
    "RenderQueue": "rendering.queue.queue",
    "start_worker": "rendering.queue.start",
    "work_on_queue": "rendering.queue.work",
    "render_prompts": "rendering.session",
    "apply_skipping": "skipping.module.apply_skipping",
    "remove_skipping": "skipping.module.apply_skipping",
    "disable": "skipping.enable",
    "enable": "skipping.enable",
    "summary": "skipping.enable",
    "ModuleTrace": "skipping.module.trace",
    "Decision": "skipping.rules.decision",
    "Policy": "skipping.rules.decision",
    "SkipState": "skipping.rules.decision",
    "Predictor": "skipping.rules.predictors",
    "skip_steps": "skipping.skip_steps",
    "StepTrace": "skipping.trace",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'videoada' has no attribute '{name}'")
    return getattr(import_module(f"videoada.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
