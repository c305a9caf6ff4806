"""One self-contained HTML file from run records and an evaluation: what was saved, what it cost, the worst cases first.

It opens from disk without a network. Prompts and file names are untrusted text: the template escapes all of them, and
the page's own policy forbids every script but its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoada.errors import ConfigError, OutputError
from videoada.evaluation.cases import Case, card, find_cases, table_row
from videoada.evaluation.charts import error_chart, fidelity_chart, histogram
from videoada.evaluation.result import EvaluationResult
from videoada.files import write_text
from videoada.records.record import RunRecord


def write_report(
    path: str | Path,
    result: EvaluationResult | None = None,
    folders: Sequence[str | Path] = (),
    *,
    videos: str = "embed",
    num_cases: int = 24,
    title: str = "videoada report",
) -> None:
    """Write the report of an evaluation, or of the run records in (or beside) the videos of `folders`.

    Of the `num_cases` worst videos the page has players, embedded in it or linked from where they lie. Raises
    OutputError when there is nothing to report or the file can't be written.
    """
    path = Path(path)
    if videos not in ("embed", "link", "none"):
        raise ConfigError(f"unknown choice for `videos`: '{videos[:40]}'; choose from embed, link, none")
    cases = sorted(find_cases(result, folders), key=lambda case: case.rank)
    if not cases and not (result and result.metrics):
        raise OutputError("there is nothing to report: no video with a run record, and no evaluation")
    write_text(path, render(cases, result, path.parent, videos=videos, num_cases=num_cases, title=title))


# ---- the page ------------------------------------------------------------------------------------------------------


def render(
    cases: Sequence[Case], result: EvaluationResult | None, folder: Path, *, videos: str, num_cases: int, title: str
) -> str:
    """The page's text; links are relative to `folder`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    records = [case.record for case in cases if case.record]
    full = result is None or result.reference is None or result.reference.kind == "full runs"
    partner = "full run" if full else "reference"
    shown = [card(case, folder, videos, partner) for case in cases[:num_cases]]
    return environment.get_template("report.html").render(
        title=title,
        subtitle=_subtitle(cases, records),
        nonce=secrets.token_hex(8),
        notes=_notes(cases, records, result),
        tiles=_tiles(cases, records, result, partner),
        charts=_charts(cases, records, partner),
        metrics=_metrics(result),
        cases=shown,
        cases_note=f"{len(shown)} of {len(cases)} videos; every one is in the table below",
        columns=("prompt", "seed", "predictions", "PSNR", "SSIM", "tOF", "speed-up", "coherence", "prompt agreement"),
        rows=[table_row(case) for case in cases],
        lists=_lists(result),
        environment=_environment(records, result),
    )


def _subtitle(cases: Sequence[Case], records: Sequence[RunRecord]) -> str:
    models = sorted({f"{r.model.name}{' (a small embedded model)' if r.model.embedded else ''}" for r in records})
    policies = sorted({_policy(r) for r in records})
    return " · ".join(filter(None, [f"{len(cases)} videos", ", ".join(models), ", ".join(policies[:4])]))


def _policy(record: RunRecord) -> str:
    return record.skip.policy if record.skip.limit is None else f"{record.skip.policy} {record.skip.limit:g}"


def _notes(cases: Sequence[Case], records: Sequence[RunRecord], result: EvaluationResult | None) -> list[str]:
    notes = list(result.warnings) if result else []
    if any(r.model.embedded for r in records):
        notes.append("Drawn by a small embedded model: these figures say nothing of the real ones.")
    if result and result.reference and result.generated:
        folder = Path(result.reference.path).name
        notes.append(
            f"The reference is the folder {folder}: {result.reference.videos} videos ({result.reference.kind})."
        )
    if missing := sum(case.gone for case in cases):
        notes.append(
            f"{missing} videos are no longer where they were evaluated: their players and records are left out."
        )
    return notes


def _tiles(
    cases: Sequence[Case], records: Sequence[RunRecord], result: EvaluationResult | None, partner: str
) -> list[dict[str, str]]:
    tiles = []
    if records:
        n = [r.num_predictions for r in records]
        steps = np.mean([r.num_inference_steps for r in records])
        tiles.append(_tile("predictions", f"{np.mean(n):.1f}", f"of {round(float(steps), 1):g}; {min(n)}–{max(n)}"))
    parts = [r.savings for r in records if r.savings]
    if parts and any(r.most_steps or r.early_exit for r in records):
        mean = {
            name: np.mean([p[name] for p in parts]) for name in ("computed", "step_count", "skipping", "early_exit")
        }
        detail = (
            f"saved by fewer steps {mean['step_count']:.0%}, skipping {mean['skipping']:.0%}, "
            f"early exit {mean['early_exit']:.0%}"
        )
        tiles.append(_tile("multiply-adds", f"{mean['computed']:.0%}", detail))
    psnr = [c.fidelity["psnr"] for c in cases if c.fidelity.get("psnr") is not None]
    if psnr:
        equal = sum(bool(c.fidelity.get("identical")) for c in cases)
        detail = f"mean; worst {min(psnr):.1f} dB" + (f"; {equal} identical" if equal else "")
        tiles.append(_tile(f"PSNR to the {partner}", f"{np.mean(psnr):.1f} dB", detail))
    if speedups := [c.fidelity["speedup"] for c in cases if c.fidelity.get("speedup")]:
        tiles.append(_tile("speed-up", f"{np.median(speedups):.2f}×", "median, measured"))
    for name, row in (result.metrics if result else {}).items():
        if name.startswith(("FVD", "KVD")) and row.get("value") is not None:
            error = f" ± {row['standard_error']:.2g}" if row.get("standard_error") is not None else ""
            tiles.append(
                _tile(name, f"{row['value']:.3g}{error}", f"{row['n_generated']} against {row['n_reference']}")
            )
    checked = [case.coherence for case in cases if case.coherence]
    if checked:
        tiles.append(_tile("coherent", f"{sum(c['passed'] for c in checked)} of {len(checked)}", "pass every check"))
    return tiles


def _tile(name: str, value: str, detail: str) -> dict[str, str]:
    return {"name": name, "value": value, "detail": detail}


def _charts(cases: Sequence[Case], records: Sequence[RunRecord], partner: str) -> list[dict[str, str]]:
    charts = []
    both = [
        (c.record.num_predictions, c.fidelity["psnr"]) for c in cases if c.record and c.fidelity.get("psnr") is not None
    ]
    if len(both) > 1:
        predictions, psnr = zip(*both, strict=True)
        svg = fidelity_chart(predictions, psnr, partner)
        charts.append({"svg": svg, "caption": "Fidelity against predictions, one dot a video."})
    if len(records) > 1:
        svg = histogram([r.num_predictions for r in records], max(r.num_inference_steps for r in records))
        charts.append({"svg": svg, "caption": "Predictions that each video took."})
    errors = [r.fidelity["latent_error"] for r in records if r.fidelity and r.fidelity.get("latent_error")]
    if errors and len({len(e) for e in errors}) == 1:
        charts.append({"svg": error_chart(errors), "caption": "How far the latents are from the full run's, by step."})
    return charts


def _metrics(result: EvaluationResult | None) -> list[dict[str, str]]:
    def text(value: Any) -> str:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    rows = []
    for name, row in (result.metrics if result else {}).items():
        count = f"{row['n_generated']} / {row['n_reference']}" if "n_generated" in row else text(row.get("n"))
        if row.get("identical"):
            count += f" + {row['identical']} identical"
        rows.append({"name": name, "value": text(row.get("value")), "error": text(row.get("standard_error")),
                     "worst": text(row.get("worst")), "count": count})  # fmt: skip
        if name in ("prompt agreement", "coherence"):
            for part, value in row.items():
                if isinstance(value, float) and part != "value":
                    rows.append({"name": f"– {part.replace('_', ' ')}", "value": text(value), "error": "", "worst": "",
                                 "count": ""})  # fmt: skip
    return rows


def _lists(result: EvaluationResult | None) -> list[dict[str, Any]]:
    if not result:
        return []
    lists = [{"title": f"Not paired: {side}", "lines": lines} for side, lines in result.unpaired.items() if lines]
    if different := [f"{row.video}: {row.not_compared}" for row in result.videos if row.not_compared]:
        lists.append({"title": "Not compared", "lines": different})
    if result.skipped:
        lists.append({"title": "Left out", "lines": [s["reason"] for s in result.skipped]})
    return lists


def _environment(records: Sequence[RunRecord], result: EvaluationResult | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if records:
        first = records[0]
        models = {f"{r.model.name} ({r.model.licence or 'licence not known'})" for r in records}
        request = first.request
        run = f"{request.scheduler}, {first.num_inference_steps} steps, guidance {request.guidance_scale:g}"
        found += [
            ("models", ", ".join(sorted(models))),
            ("weights", ", ".join(sorted({str(r.model.weights_sha256)[:16] for r in records}))),
            ("run", f"{run}, {first.device} {first.dtype}"),
        ]
    if result:
        if result.extractor:
            found.append(("extractor", ", ".join(f"{k} {v}" for k, v in result.extractor.items() if v is not None)))
        found.append(("clips", ", ".join(f"{k} {v}" for k, v in result.sampling.items() if v is not None)))
        found.append(("evaluated", result.created))
    versions = result.versions if result else records[0].versions if records else {}
    return [*found, ("versions", ", ".join(f"{k} {v}" for k, v in versions.items()))]
