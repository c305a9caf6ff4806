#!/usr/bin/env bash
# Checks the wheel as its user meets it: built, looked into, installed alone in a fresh environment, run far from here.
#
#     scripts/check_wheel.sh
#
# Needs python3 (or $PYTHON) with venv, and an index to install from. Leaves nothing behind.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1 CHECKOUT=$checkout
began=$SECONDS
say() { echo "check_wheel: $* ($((SECONDS - began)) s)"; }
fail() { echo "check_wheel: FAILED: $*" >&2; exit 1; }

"${PYTHON:-python3}" -m venv "$work/venv"
python=$work/venv/bin/python
videoada=$work/venv/bin/videoada

# From a copy: building leaves a build/ behind, and one from before would put removed files into the wheel.
mkdir "$work/source"
cp -R "$checkout"/{pyproject.toml,README.md,LICENSE,videoada,tests,scripts,configs} "$work/source"
"$python" -m pip wheel -qq --no-deps -w "$work/dist" "$work/source"
wheel=$(echo "$work"/dist/videoada-*.whl)
say "built $(basename "$wheel"), $(wc -c <"$wheel") bytes"

"$python" - "$wheel" <<'PYTHON'
import os, sys, zipfile
from pathlib import Path

package = Path(os.environ["CHECKOUT"]) / "videoada"
wheel = Path(sys.argv[1])
assert wheel.stat().st_size < 100e6, f"the wheel has {wheel.stat().st_size} bytes"
held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
wanted = {f"videoada/{p.relative_to(package).as_posix()}" for p in package.rglob("*") if p.is_file()}
wanted = {name for name in wanted if "/__pycache__/" not in name}
assert {"videoada/config/data/quality.yaml", "videoada/records/run-record.schema.json"} <= wanted
assert wanted <= held, f"the wheel lacks {sorted(wanted - held)}"
more = {name for name in held - wanted if ".dist-info/" not in name}
assert not more, f"the wheel holds more than the package: {sorted(more)}"
PYTHON
say "it holds the package, all of it and nothing else"

# torch first and by its exact version: a range would bring several GB of CUDA packages on machines without a GPU.
"$python" -m pip install -qq -c "$checkout/constraints.txt" "$(grep '^torch==' "$checkout/constraints.txt")"
"$python" -m pip install -qq -c "$checkout/constraints.txt" "$wheel"
say "installed it without extras"

mkdir "$work/empty"
cd "$work/empty"
load='
import os, pathlib, sys, videoada
from videoada.config.quality import QUALITIES
from videoada.config.settings import RunSettings
at = pathlib.Path(videoada.__file__).resolve()
assert not at.is_relative_to(os.environ["CHECKOUT"]) and at.is_relative_to(pathlib.Path(sys.argv[1]).resolve()), at
assert RunSettings(quality="high").skip().tolerance == 0.025
assert len({RunSettings(quality=level).skip().tolerance for level in QUALITIES}) == 4
assert RunSettings(model="tiny-t2v", target_psnr=40).skip().tolerance > 0
'
"$python" -c "$load" "$work/venv"
"$python" -m pip install -qq --no-deps --target "$work/target" "$wheel"
PYTHONPATH=$work/target "$python" -c "$load" "$work/target"
say "quality levels load from the environment and from a --target folder"

prompt="a red circle moving right on a black background"
small=(--steps 12 --quiet)
"$videoada" --version
"$videoada" generate --prompt "$prompt" "${small[@]}" --output clip.mp4
"$videoada" generate --prompt "$prompt" "${small[@]}" --quality high --output high.mkv
"$videoada" generate --config example "${small[@]}" --output example.mkv
"$videoada" check clip.mp4 high.mkv example.mkv --config coherence
say "generate and check"

printf '%s\n' "$prompt" "a blue square moving left slowly on a gray background" >prompts.txt
"$videoada" render prompts.txt --out full --format mkv "${small[@]}" --policy none
"$videoada" render prompts.txt --out skipped --format mkv "${small[@]}" --quality fast
"$videoada" evaluate --generated skipped --reference full --output result.json --quiet
"$videoada" report --evaluation result.json --output evaluation.html
"$videoada" report skipped --output videos.html
for file in clip.json high.json example.json result.json evaluation.html videos.html; do
    [ -s "$file" ] || fail "$file was not written"
done
for folder in full skipped; do
    found=$(find "$folder" -name '0*.mkv' | wc -l)
    [ "$found" = 2 ] || fail "$folder holds $found videos, not 2"
done
"$python" - <<'PYTHON'
import json
from pathlib import Path

def predictions(folder):
    return [json.loads(path.read_text())["num_predictions"] for path in sorted(Path(folder).glob("0*.json"))]

full, skipped = predictions("full"), predictions("skipped")
assert full == [12, 12] and max(skipped) < 12, (full, skipped)
PYTHON
say "render, evaluate and report"

say "passed"
