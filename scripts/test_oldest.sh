#!/usr/bin/env bash
# The core of the tests on the lowest versions that pyproject.toml allows, in .venv-oldest. torch is held at its pin, for
# older ones bring gigabytes of CUDA; so are the tests' own tools, whose lower ends are nobody's concern.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${OLDEST_VENV:-.venv-oldest} bin=${OLDEST_VENV:-.venv-oldest}/bin
test -x "$bin/python" || "${PYTHON:-python3}" -m venv "$venv"
pins() { grep -iE "^($1)==" constraints.txt; }
"$bin/python" -m pip install -q 'uv>=0.5' "$(pins torch)"
# shellcheck disable=SC2046
"$bin/uv" pip install -q --python "$bin/python" --resolution lowest-direct \
    $(pins 'torch|pytest|pytest-xdist|hypothesis|scikit-image|jsonschema') -e '.[ray,wan]' 'DeepCache>=0.1.1'
"$bin/python" -c 'from videoada.records.record import package_versions as found; print("oldest:", *found().items())'
OMP_NUM_THREADS=1 "$bin/python" -m pytest -n 2 --dist loadfile \
    tests/config tests/media tests/records tests/models/test_embedded_model.py tests/models/test_images.py \
    tests/models/test_image_to_video.py tests/models/test_denoisers.py tests/models/test_vae_features.py \
    tests/metrics/test_features.py tests/metrics/test_coherence.py tests/evaluation/test_evaluate.py \
    tests/skipping/test_schedule.py tests/skipping/test_policies.py tests/skipping/test_schedulers.py \
    tests/skipping/test_skip_steps.py tests/generation/test_frames_stay.py tests/generation/test_generate.py \
    tests/learned/test_step_policy.py tests/rendering/test_render.py tests/cli/test_cli.py "$@"
