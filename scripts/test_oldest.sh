#!/usr/bin/env bash
# The core of the tests on the lowest versions that pyproject.toml allows, in .venv-oldest. torch is held at its pin, for
# older ones bring gigabytes of CUDA; so are the tests' own tools, whose lower ends are nobody's concern.
#
#     scripts/test_oldest.sh [pytest's arguments]
#     scripts/test_oldest.sh --if-changed    # not where samples/results/oldest.txt says that they passed with these files
set -euo pipefail
cd "$(dirname "$0")/.."
passed=samples/results/oldest.txt
# of what decides about the versions: in a file of the repository, as a fresh clone knows nothing of earlier runs
now=$("${PYTHON:-python3}" -c 'import hashlib, sys; print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())' \
    pyproject.toml constraints.txt scripts/test_oldest.sh)
if [ "${1:-}" = --if-changed ]; then
    shift
    if grep -qs "$now" "$passed"; then
        echo "oldest: passed before with this pyproject.toml, constraints.txt and script ($passed)"
        exit 0
    fi
fi
venv=${OLDEST_VENV:-.venv-oldest} bin=${OLDEST_VENV:-.venv-oldest}/bin
test -x "$bin/python" || "${PYTHON:-python3}" -m venv "$venv"
pins() { grep -iE "^($1)==" constraints.txt; }
"$bin/python" -m pip install -q 'uv>=0.5' "$(pins torch)"
# shellcheck disable=SC2046
"$bin/uv" pip install -q --python "$bin/python" --resolution lowest-direct \
    $(pins 'torch|pytest|pytest-xdist|hypothesis|scikit-image|jsonschema|imageio-ffmpeg') -e '.[ray,wan,heic]' 'DeepCache>=0.1.1'
versions=$("$bin/python" -c 'from videoada.records.record import package_versions as found; print(*map("=".join, found().items()))')
echo "oldest: $versions"
OMP_NUM_THREADS=1 "$bin/python" -m pytest -n 2 --dist loadfile \
    tests/config tests/media tests/records tests/models/test_embedded_model.py tests/models/test_images.py \
    tests/models/test_image_to_video.py tests/models/test_denoisers.py tests/models/test_vae_features.py \
    tests/metrics/test_features.py tests/metrics/test_coherence.py tests/evaluation/test_evaluate.py \
    tests/skipping/test_schedule.py tests/skipping/test_policies.py tests/skipping/test_schedulers.py \
    tests/skipping/test_skip_steps.py tests/generation/test_frames_stay.py tests/generation/test_generate.py \
    tests/learned/test_step_policy.py tests/rendering/test_render.py tests/cli/test_cli.py "$@"
if [ $# = 0 ]; then
    printf '%s\n' "passed: $versions" "pyproject.toml constraints.txt scripts/test_oldest.sh: $now" > "$passed"
    echo "oldest: commit $passed, so that CI does not run them again before one of these files changes"
fi
