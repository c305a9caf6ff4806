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

# Continues what samples/cells holds: remove samples/results/frontier and samples/cells/frontier-* to measure everything
# again, which takes hours.
RESULTS := samples/results
# A full run of emoji-t2v takes minutes on a CPU: fewer methods.
OF_EMOJI := full run;tolerance 0.01;tolerance 0.025;tolerance 0.05;tolerance 0.12;tolerance 0.3;tolerance 0.6;release threshold 0.04;release threshold 0.08;release threshold 0.2;paper threshold 0.4;every 3;DeepCache interval 3;fewer steps 16 trailing;dpm++, fewer steps 25 leading;dpm++, fewer steps 20 leading
bench: $(READY)
	$(BIN)/python scripts/experiments/cells.py unpack
	$(BIN)/videoada benchmark --preset frontier --model emoji-t2v --prompts samples/prompts_emoji.txt --limit 16 \
	    --families "$(OF_EMOJI)" --output $(RESULTS)/frontier
	$(BIN)/videoada benchmark --preset frontier --model tiny-t2v --prompts samples/prompts.txt --reference-steps 500 --output $(RESULTS)/frontier
	$(BIN)/videoada benchmark --preset frontier --model tiny-i2v --prompts samples/prompts_i2v.jsonl --reference-steps 500 --output $(RESULTS)/frontier
	$(BIN)/videoada benchmark --preset frontier --model tiny-wan --prompts samples/prompts.txt --output $(RESULTS)/frontier
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
