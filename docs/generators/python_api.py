"""The page of the Python API: which public names stand under which heading; mkdocstrings fills in their docstrings."""

from __future__ import annotations

import videoada
import videoada.metrics

TOP = """# Python API

<!-- Written by docs/write_reference.py from docs/generators/python_api.py: edit that. -->

`import videoada` loads neither torch nor diffusers; each name loads what it needs when it is first used. Every error
that a user can cause is a [`VideoAdaError`][videoada.VideoAdaError], with one line that says what is wrong and what to
do.
"""
PUBLIC = {
    "Skipping in a pipeline of yours": (
        "skip_steps", "enable", "disable", "summary", "SkipConfig", "StepTrace", "early_exit",
    ),
    "Skipping in a denoiser of yours": ("apply_skipping", "remove_skipping", "ModuleTrace"),
    "Loading and generating": (
        "load_pipeline", "LoadConfig", "encode_prompt", "generate", "GenerationConfig", "compare", "Comparison",
        "Video", "generate_events", "RunStarted", "StepTaken", "Preview", "VideoDone",
    ),
    "Records": ("RunRecord", "save_run", "find_record"),
    "Prompt files": ("render_prompts",),
    "Queues": ("RenderQueue", "QueueEntry", "work_on_queue", "start_worker"),
    "Measuring": (
        "evaluate", "EvaluationConfig", "EvaluationResult", "write_report", "judge", "Verdict", "VerdictLimits",
    ),
    "Policies and predictors of your own": ("Policy", "Predictor", "SkipState", "Decision"),
    "Errors": (
        "VideoAdaError", "ConfigError", "ModelError", "PromptError", "ImageError", "OutputError", "ResourceError",
        "MetricError",
    ),
}  # fmt: skip
BENCHMARKS = (
    "benchmark.benchmark", "benchmark.Cell", "methods.Method", "timing.time_pairs", "timing.Timing",
    "calibrate.calibrate", "oracle.analyse.analyse",
)  # fmt: skip
TRAINING = ("exits.train_exits", "config.ExitTraining", "steps.train_steps", "config.StepTraining")


def page() -> str:
    """The whole page. Raises ValueError where it and `videoada.__all__` differ."""
    listed = [name for names in PUBLIC.values() for name in names]
    if sorted(listed) != sorted(videoada.__all__):
        raise ValueError(f"listed and public differ in {', '.join(sorted(set(listed) ^ set(videoada.__all__)))}")
    sections = {title: [f"videoada.{name}" for name in names] for title, names in PUBLIC.items()}
    sections["Metrics: videoada.metrics"] = [f"videoada.metrics.{name}" for name in videoada.metrics.__all__]
    sections["Benchmarks: videoada.benchmarks"] = [f"videoada.benchmarks.{name}" for name in BENCHMARKS]
    sections["Training: videoada.training"] = [f"videoada.training.{name}" for name in TRAINING]
    parts = [TOP]
    for title, names in sections.items():
        parts += [f"## {title}\n", *(f"::: {name}\n" for name in names)]
    return "\n".join(parts)
