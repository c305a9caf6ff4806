"""Tables of samples/results: each function takes a folder or a file there and returns Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videoada.benchmarks.every_prompt import Need, needs_table
from videoada.benchmarks.frontier import Point, budgets_table, psnr_table

MODELS = ("emoji-t2v", "tiny-t2v", "tiny-i2v", "tiny-wan")


def read(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(head: str, rows: list[str]) -> str:
    """A Markdown table of rows that are already joined by ` | `."""
    lines = [f"| {head} |", "|" + "---|" * (head.count(" | ") + 1), *(f"| {row} |" for row in rows)]
    return "\n".join(lines) + "\n"


def points_of(path: Path) -> list[Point]:
    return [Point(**point) for point in read(path)["points"]]


def models_of(folder: Path) -> list[Path]:
    """The files of figures, in the order of MODELS."""
    return [path for name in MODELS if (path := folder / f"{name}.json").is_file()]


def budgets(folder: Path) -> str:
    """What each family's best curve reaches at each budget, and takes for nearly every prompt, model by model."""
    return "\n".join(
        f"{budgets_of(path)}\n{needs_table([Need(**need) for need in read(path)['needs']])}\n"
        for path in models_of(folder)
    )


def at_budgets(folder: Path) -> str:
    """What each family's best curve reaches at each budget, model by model."""
    return "\n".join(map(budgets_of, models_of(folder)))


def budgets_of(path: Path) -> str:
    figures = read(path)
    return f"{figures['model']}:\n\n{budgets_table(points_of(path), figures['budgets'])}\n"


def curves(folder: Path) -> str:
    """Every method's UNet rows and PSNR, the models in columns."""
    found = [points_of(path) for path in models_of(folder)]
    by_method = [{point.method: point for point in points if point.rows < 1} for points in found]
    rows = []
    for method in dict.fromkeys(method for points in by_method for method in points):
        same = [points.get(method) for points in by_method]
        cells = (f"{p.rows:.1%} · {p.psnr:.1f} · {p.psnr_worst:.1f}" if p else "—" for p in same)
        rows.append(" | ".join((method, *cells)))
    heads = (f"{points[0].model}, {points[0].prompts} prompts: rows · PSNR · worst" for points in found)
    return table(" | ".join(("method", *heads)), rows)


def batches(folder: Path) -> str:
    """The same, and read at equal PSNR and at equal rows."""
    parts = [curves(folder)]
    for path in models_of(folder):
        points = points_of(path)
        at_rows = budgets_table(points, (0.4, 0.32, 0.28))
        parts.append(f"{read(path)['model']}, at equal PSNR and at equal rows:\n\n{psnr_table(points)}\n\n{at_rows}\n")
    return "\n".join(parts)


def efficiency(folder: Path) -> str:
    """Timed pairs of a full and a skipped run."""
    rows = []
    for path in sorted(folder.glob("*.json"), key=lambda p: (p.name[:8] != "tiny-t2v", p.name)):
        f = read(path)
        rows.append(
            f"{f['model']} | {f['batch_size']} | {f['pairs']} | {f['predictions']:.1f} | {f['speedup']:.2f}× | "
            f"{f['efficiency']:.3f} | {f['policy_share']:.2%}"
        )
    return table("model | batch | pairs | predictions of 50 | speed-up | efficiency | decision, of a UNet call", rows)


def analyses(folder: Path) -> str:
    """Every policy against the greedy oracle, model by model."""
    parts = []
    for path in sorted(folder.glob("tiny-*/analysis.json"), reverse=True):
        figures = read(path)
        own = path.with_suffix(".md").read_text(encoding="utf-8")
        named = f"{figures['model']} (small embedded model), {len(figures['prompts'])} prompts"
        parts.append(f"{named}:\n\n{own}")
    return "\n".join(parts)


def written(path: Path) -> str:
    """The table that a script wrote: of a folder its points.md."""
    return (path / "points.md" if path.is_dir() else path).read_text(encoding="utf-8")


def agreement(path: Path) -> str:
    """How well a model follows its prompts, by number of objects."""
    kinds = read(path)["agreement"]
    names = ("background", "colour", "shape", "motion", "all")
    image = any("first_frame_psnr" in values for values in kinds.values())
    rows = []
    for kind, values in kinds.items():
        noun = "object" if kind.startswith("one") else "objects"
        shares = " | ".join(f"{values[name]:.0%}" for name in names)
        first = f" | {values['first_frame_psnr']:.1f} dB" if image else ""
        rows.append(f"{values['prompts']} with {kind.split()[0]} {noun} | {shares}{first}")
    return table(" | ".join(("prompts", *names)) + (" | first frame against the image" if image else ""), rows)


def holding(path: Path) -> str:
    """PSNR of holding (x̂₀, ε̂) and of holding the raw output, by timestep spacing."""
    rows = [
        f"{row['timestep_spacing']} | {row['predictions']} | {row['hold']:.1f} dB | {row['hold-output']:.1f} dB"
        for row in read(path)["rows"]
    ]
    return table("timesteps | predictions of 50 | hold | hold-output", rows)


def at_shifts(path: Path) -> str:
    """The default beside even skipping and fewer steps, by solver and shift of flow matching."""
    rows, ways = read(path)["rows"], ("default", "every third step", "16 steps")
    lines = []
    for row in rows:
        cells = (f"{row[w]['predictions']:.1f} · {row[w]['psnr']:.1f} · {row[w]['worst']:.1f}" for w in ways)
        lines.append(" | ".join((f"{row['scheduler']}, shift {row['shift']:g}", *cells)))
    return table(" | ".join((f"{rows[0]['prompts']} prompts: predictions · PSNR · worst", *ways)), lines)


def damages(path: Path) -> str:
    """What metrics say of damaged clips: values with their standard errors."""
    rows = []
    for name, values in read(path)["values"].items():
        fvd, kvd = (with_error(*values[f"{kind}[tiny-shapes-v1]"]) for kind in ("FVD", "KVD"))
        psnr = values["PSNR"][0]
        shown = "identical" if psnr is None else f"{psnr:.1f}"
        passed = f"{values['coherence passed'][0]:.0%}"
        rows.append(f"{name} | {fvd} | {kvd} | {shown} | {values['tOF'][0]:.2f} | {passed}")
    return table("damage | FVD[tiny-shapes-v1] | KVD[tiny-shapes-v1] | PSNR | tOF | pass coherence", rows)


def sensitivity(path: Path) -> str:
    """How far each damage moves a set of clips in each extractor's features, one table for each set of clips."""
    parts = []
    for data, found in read(path)["data"].items():
        cells = {(row["extractor"], row["damage"]): row for row in found["rows"]}
        extractors, names = (list(dict.fromkeys(row[key] for row in found["rows"])) for key in ("extractor", "damage"))
        rows = []
        for name in (name for name in names if not name.startswith("none")):
            shown = []
            for extractor in extractors:
                row = cells[extractor, name]
                own = cells[extractor, row["baseline"]]
                times, errors = row["fvd"][0] / own["fvd"][0], _errors_apart(row["kvd"], own["kvd"])
                parts_of = ((f"{times:.3g}×", _errors_apart(row["fvd"], own["fvd"])), (f"{errors:+.1f}", errors))
                shown.append(" · ".join(text if abs(apart) > 2 else f"[{text}]" for text, apart in parts_of))
            rows.append(" | ".join((name, *shown)))
        heads = (f"{name}: FVD · KVD" for name in extractors)
        parts.append(f"{found['clips']} clips, {data}:\n\n" + table(" | ".join(("damage", *heads)), rows))
    return "\n".join(parts)


def _errors_apart(value: list[float], other: list[float]) -> float:
    """By how many standard errors of the difference two values are apart."""
    return (value[0] - other[0]) / float((value[1] ** 2 + other[1] ** 2) ** 0.5 or 1.0)


def with_error(value: float, error: float) -> str:
    """`1,680 ± 90`: the error to one digit, the value to three, or to units."""
    return f"{rounded(value, 3):,} ± {rounded(error, 1):,}"


def rounded(value: float, digits: int) -> int:
    size = len(str(abs(int(value))))
    return round(value, min(0, digits - size)).__int__()


def architectures(path: Path) -> str:
    """What skipping costs on the real architectures with random weights."""
    rows = []
    for name, figures in read(path)["models"].items():
        one, four = figures["batch_1"], figures["batch_4"]
        call = one[0]["unet_call_milliseconds"]["2"] / 1000
        efficiencies = ", ".join(f"{run['efficiency']:.3f}" for run in one if run["run"].endswith("predictions"))
        own = next(run["efficiency"] for run in four if run["run"] == "each its own mask")
        rows.append(
            f"{name} | {call:.1f} s | {figures['decision_milliseconds']:.2f} ms | "
            f"{figures['decision_share_of_a_unet_call']:.3%} | {efficiencies} | {own:.3f}"
        )
    return table(
        "architecture | UNet call | decision a step | of a call | efficiency at 4, 3, 2 predictions | "
        "batch of 4, each its own mask", rows,
    )  # fmt: skip


def on_gpu(path: Path) -> str:
    """What skipping gave on a GPU at the real architectures' size, with random weights, and when that was measured."""
    f = read(path)
    rows = []
    for name, figures in f["models"].items():
        batches = sorted((key for key in figures if key.startswith("batch_")), key=lambda key: int(key[6:]))
        for key in batches:
            full = figures[key][0]
            rows += [
                f"{name} | {key[6:]} | {_run(run)} | {sum(run['predictions'])} of {sum(full['predictions'])} | "
                f"{run['seconds']:.2f} s | {run['speedup']:.2f}× | "
                f"{full['denoising_seconds'] / run['denoising_seconds']:.2f}× | {run['efficiency']:.3f} | "
                f"{run['own_milliseconds_a_step']:.2f} ms | {run['peak_memory_bytes'] / 2**30:.1f} GiB"
                for run in figures[key]
            ]
    versions = ", ".join(f"{name} {f['versions'][name]}" for name in ("torch", "diffusers", "transformers"))
    decisions = ", ".join(
        f"{figures['decision_milliseconds']:.2f} ms, {figures['decision_share_of_a_unet_call']:.1%} of a UNet call "
        f"({name})" for name, figures in f["models"].items()
    )  # fmt: skip
    when = f" Measured on {f['measured_on']}." if "measured_on" in f else ""
    return (
        f"{f['device']}, {f['dtype']}, {versions}; random weights.{when} A decision alone takes {decisions}.\n\n"
    ) + table(
        "architecture | batch | run | predictions | prompt to frames | speed-up | of the denoising alone | "
        "efficiency | own time a step | peak memory",
        rows,
    )  # fmt: skip


def on_gpu_in_short(path: Path) -> str:
    """Of a single video: the speed-up and the efficiency at each number of predictions."""
    f, rows = read(path), []
    for name, figures in f["models"].items():
        full = figures["batch_1"][0]
        cells = [
            f"{run['speedup']:.2f}× ({run['efficiency']:.3f})"
            for run in figures["batch_1"] if run["run"].endswith("predictions")
        ]  # fmt: skip
        size = "×".join(str(figures["video"][side]) for side in ("width", "height"))
        rows.append(f"{name}, {size}, {figures['video']['num_frames']} frames | {full['seconds']:.2f} s | "
                    + " | ".join(cells))  # fmt: skip
    counts = [run["predictions"][0] for run in figures["batch_1"] if run["run"].endswith("predictions")]
    return table("architecture | full run of 50 | " + " | ".join(f"{n} predictions" for n in counts), rows)


def _run(run: dict[str, Any]) -> str:
    return {"rule": "asked at each step, nothing skipped"}.get(run["run"], run["run"])


def evaluation_cost(path: Path) -> str:
    """A sentence: what metrics add to decoding and extracting."""
    f = read(path)
    ratio, (few, many) = f["ratio_of_processor_time"], sorted(f["peak_memory_bytes"], key=int)
    growth = f["peak_memory_bytes"][many] / f["peak_memory_bytes"][few] - 1
    return (
        f"With {f['videos_a_side']:,} videos a side of 16×64×64, FVD and KVD take {ratio['FVD and KVD']:.2f} times the "
        "processor time of decoding and extracting alone. All default metrics take "
        f"{ratio['default metrics of sets']:.1f} times as much for sets of other videos, where the generated ones are "
        f"looked at alone, and {ratio['default metrics of pairs']:.1f} times for pairs, where both are looked at and "
        f"compared. Peak memory grows by {growth:.0%} from {int(few):,} to {int(many):,} videos.\n"
    )


def tolerances(path: Path) -> str:
    """What one tolerance brings on known data: the error over DDIM's, predictions in brackets, the largest jump."""
    rows = []
    for steps, lines in read(path).items():
        for line in lines:
            cells = [f"{r:.2f} ({p:.1f})" for r, p in zip(line["ratios"], line["predictions"], strict=True)]
            rows.append(" | ".join([steps, line["data"], line["scheduler"], *cells, f"{line['jump']:.2f}"]))
    return table("steps | data | scheduler | at 0.02 | at 0.05 | at 0.1 | a tenth more, at most", rows)


def distances_to_data(path: Path) -> str:
    """FVD and KVD of sets of videos to a set of data, in several features, with standard errors."""
    rows = []
    for row in read(path)["rows"]:
        fvd, kvd = (f"{value['value']:.3g} ± {value['standard_error']:.2g}" for value in (row["fvd"], row["kvd"]))
        rows.append(f"{row['set']} | {row['n']} | {row['n_data']} | {row['extractor']} | {fvd} | {kvd}")
    return table("videos | n | n of the data | features | FVD | KVD", rows)
