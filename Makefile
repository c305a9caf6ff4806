# demo, test, lint, docs and bench each set up what they need: a virtual environment with the tested versions of all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-docs test-families test-experiments test-oldest test-slow lint docs wheel bench clean

demo: $(READY)
	$(BIN)/videoada generate --model emoji-t2v --prompt "rocket on a navy background" --seed 3 --compare --output demo.mp4
	@echo "Look at demo-compare.mp4: the full run left, the skipped one right. The video alone is demo.mp4, its record demo.json."

# A test file is one process's, two run at once; one thread for each, or both fight for the cores. In the order of their
# names, which ends with short files: xdist's own ends with those of few tests, and one process waits for a long one.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The blocks of all pages of the documentation; `make test` runs those of the first pages alone.
test-docs: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow tests/test_docs.py

# Every small build of a diffusers pipeline through all checks and commands; `make test` runs some.
test-families: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow tests/pipelines tests/generation/test_families.py tests/generation/test_every_build.py

# The experiments of `analyse` and `benchmark` from end to end, renders by many workers, renders, pages and trainings that
# are killed, memory, files that are damaged everywhere.
test-experiments: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow -k "not ray" tests/benchmarks tests/rendering tests/ui \
	    tests/training/test_emoji.py tests/media/test_memory.py::test_check_and_evaluate_hold_a_few_frames \
	    tests/evaluation/test_evaluation_fuzz.py tests/models/test_embedded_model.py::test_half_of_the_predictions_draw_the_same_video

# The core of the tests on the lowest versions that pyproject.toml allows.
test-oldest:
	PYTHON=$(PYTHON) scripts/test_oldest.sh

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py -k downwards

# Builds the documentation into site/, whose index.html opens from disk; a warning is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Builds the wheel, installs it alone outside the checkout and runs every command that a user begins with.
wheel:
	PYTHON=$(PYTHON) scripts/check_wheel.sh

# Prints all tables of samples/results again, from the rows in samples/cells where they are of today's code. To measure a
# table's rows again, which takes hours, remove samples/results/FOLDER/cells.jsonl and samples/cells/FOLDER-*.
bench: $(READY)
	$(BIN)/python scripts/experiments/cells.py unpack
	$(BIN)/python scripts/experiments/bench.py
	$(BIN)/videoada benchmark --prompts samples/prompts.txt --pairs 9
	$(BIN)/videoada benchmark --prompts samples/prompts.txt --pairs 5 --batch-size 8
	$(BIN)/python scripts/experiments/cells.py pack
	$(BIN)/python docs/write_reference.py

# torch first and by its exact version: a range would bring several GB of CUDA packages on machines without a GPU.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest runs out site demo.mp4 demo-compare.mp4 demo.json
