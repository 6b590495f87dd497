# `make submission` and `make test` work directly after a clone. `make help` lists all targets.

SYNTHETIC := data/synthetic

DATA   ?= $(SYNTHETIC)
CONFIG ?= configs/lite0_synthetic.yaml
FOLD   ?= 0
FOLDS  ?= 10
SPLIT  ?= stratified
RUNS   ?=
IMAGE  ?=
REAL   ?=
RUN    ?= $(RUN_DIR)/fold$(FOLD)
TTA    ?= d4
GPUS   ?= 1
OUT    ?= submission.tar.gz
ARGS   ?=

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
SHARED := $(if $(filter 1,$(GPUS)),$(PY),$(VENV)/bin/torchrun --standalone --nproc_per_node=$(GPUS))
READY  := $(VENV)/.installed
RUN_DIR := runs/$(basename $(notdir $(CONFIG)))

# One word of a shell command, whatever characters it has: $(call quoted,my data/x.tif). RUNS and ARGS are lists of words.
quoted = '$(subst ','\'',$(1))'

# Folds lie beside the data. A read-only folder that has none, such as /kaggle/input/geopose, gets them in data/geopose.
# $(call folds_csv,stratified10) is the path of such a file.
read_only = $(shell cd $(call quoted,$(DATA)) >/dev/null 2>&1 && [ ! -w . ] && [ ! -e $(call quoted,folds-$(1).csv) ] && echo yes)
folds_csv = $(if $(call read_only,$(1)),data/$(shell basename $(call quoted,$(DATA))),$(DATA))/folds-$(1).csv
SPLITS := $(call folds_csv,$(SPLIT)$(FOLDS))

# By default glibc returns large tensors to the system after each use. Allocating them again takes half of the time of a
# training on a CPU. These settings make it keep the memory.
export MALLOC_MMAP_MAX_ = 0
export MALLOC_TRIM_THRESHOLD_ = 8589934592
export MALLOC_TOP_PAD_ = 268435456

# A target's commands use all cores themselves, and `submission` scores what it has predicted before.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup data folds prepare train predict submission verify score oof ablation blend compare splits adapt release demo report tensorboard docs bench test lint clean

help: ## list targets and variables
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo
	@echo "  variables and their current values:"
	@echo "    DATA=$(DATA)  CONFIG=$(CONFIG)  FOLD=$(FOLD)  FOLDS=$(FOLDS)  SPLIT=$(SPLIT)"
	@echo "    RUNS=\"$(RUNS)\" (empty: all finished runs on DATA)  TTA=$(TTA)  GPUS=$(GPUS)  OUT=$(OUT)  RUN=$(RUN)  IMAGE=$(IMAGE)  REAL=$(REAL)  ARGS=\"$(ARGS)\""
	@echo "  example: make train FOLD=1 ARGS=\"train.max_minutes=2\""

setup: $(READY) ## install the pinned packages into .venv, once

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --requirement requirements.txt
	$(PY) -m pip check
	touch $@

# A folder that already has tables holds data and is not changed.
data: $(READY) ## render the synthetic competition folder, unless DATA holds one already
	@if [ -e $(call quoted,$(DATA)/metadata.csv) ]; then echo $(call quoted,$(DATA) already holds data); \
	else $(PY) -m geopose synthesize --out $(call quoted,$(DATA)); fi

# Only the default data is made when it is missing. Any other folder is somebody's: a mistyped one must not be filled.
folds: $(if $(filter-out $(SYNTHETIC),$(DATA)),$(READY),data) ## split the training tiles into FOLDS folds by SPLIT (stratified: as the winners; cluster: by place; group: by city)
	@if [ -e $(call quoted,$(SPLITS)) ]; then echo $(call quoted,$(SPLITS) already exists); \
	else $(PY) make_folds.py --data $(call quoted,$(DATA)) --out $(call quoted,$(SPLITS)) --split $(SPLIT) --num-folds $(FOLDS); fi

prepare: $(READY) ## copy DATA's tiles into DATA/prepared, from which crops are read in milliseconds
	$(PY) -m geopose prepare --data $(call quoted,$(DATA))

train: folds ## train CONFIG with FOLD for validation; ARGS passes key=value settings
	$(PY) train.py $(call quoted,$(CONFIG)) $(call quoted,data.root=$(DATA)) $(call quoted,data.folds=$(SPLITS)) data.fold=$(FOLD) \
	    train.gpus=$(GPUS) $(ARGS)

predict: $(READY) ## predict the test half of DATA with RUNS and TTA views into OUT, on GPUS processes
	$(SHARED) predict.py --data $(call quoted,$(DATA)) --runs $(RUNS) --tta $(TTA) --out $(call quoted,$(OUT))

# Without RUNS, missing inputs are made first: data, folds, and the run of CONFIG on FOLD.
submission: $(if $(RUNS),$(READY),train) ## the whole job: data, folds, training, blending, validation, score
	@$(MAKE) --no-print-directory predict score

verify: $(READY) ## check that RUN can be reproduced; ARGS="--tarball FILE" or "--retrain" check more
	$(PY) -m geopose verify --run $(call quoted,$(RUN)) $(ARGS)

score: $(READY) ## validate OUT, and score it if DATA has the truth of its test half
	$(PY) -m geopose validate $(call quoted,$(OUT)) --data $(call quoted,$(DATA))
	@if [ -d $(call quoted,$(DATA)/truth) ]; \
	then $(PY) -m geopose evaluate --truth $(call quoted,$(DATA)/truth) --pred $(call quoted,$(OUT)); \
	else echo $(call quoted,$(DATA) has no truth/ folder: $(OUT) cannot be scored here); fi

# It needs one run per fold: make train FOLD=0, FOLD=1, ... Without any, the command would take all runs on DATA.
FOLD_RUNS = $(or $(RUNS),$(wildcard $(RUN_DIR)/fold*),$(error no run in $(RUN_DIR)/; train one per fold with 'make train FOLD=0' and so on, or give RUNS))
oof: $(READY) ## out-of-fold predictions of all folds of CONFIG (or of RUNS), their score, and a height calibration
	$(PY) -m geopose oof --data $(call quoted,$(DATA)) --runs $(FOLD_RUNS) --out $(call quoted,$(RUN_DIR)/oof)

ablation: folds ## train the variants of configs/ablation/lite0.yaml on one budget; table in docs/ablation.md
	$(PY) -m geopose compare configs/ablation/lite0.yaml --data $(call quoted,$(DATA)) --folds $(call quoted,$(SPLITS)) --fold $(FOLD)

compare: folds ## train lite0_imagenet and the baseline's recipe for equal minutes; table in docs/compare.md (two hours)
	$(PY) -m geopose compare configs/compare/lite0.yaml --data $(call quoted,$(DATA)) --folds $(call quoted,$(SPLITS)) --fold $(FOLD)

splits: $(READY) ## train lite0_imagenet on three kinds of folds; table in docs/splits.md (an hour and a half)
	@for split in stratified cluster group; do $(MAKE) --no-print-directory folds SPLIT=$$split FOLDS=4 || exit 1; done
	$(PY) -m geopose compare configs/splits/lite0.yaml --data $(call quoted,$(DATA)) --folds $(call quoted,$(call folds_csv,stratified4))

# Short epochs give a run more than five checkpoints, of which it keeps five.
blend: folds ## train lite0_imagenet on three folds and lite0_rdtsc on two, and blend them in many ways; docs/blending.md (two hours)
	@for run in lite0_imagenet/fold0 lite0_imagenet/fold1 lite0_imagenet/fold2 lite0_rdtsc/fold0 lite0_rdtsc/fold1; do \
	    $(MAKE) --no-print-directory train CONFIG=configs/$${run%/*}.yaml FOLD=$${run##*fold} \
	        ARGS="run.dir=runs/blend/$$run train.max_minutes=15 train.steps_per_epoch=150 train.keep_checkpoints=5" || exit 1; done
	$(PY) -m geopose blend configs/blend/lite0.yaml --data $(call quoted,$(DATA))

# Of data/other's training half only the images are used, except by the row of true labels. REAL is a folder with images
# in test/ and their labels in truth/: then these images are the unlabelled ones, and their labels are for scoring only.
adapt: folds ## what unlabelled images of other cities, or of REAL, are worth; docs/adapt.md or docs/adapt_real.md (two hours)
	@[ -n $(call quoted,$(REAL)) ] || [ -e data/other/metadata.csv ] || $(PY) -m tests.other_cities --out data/other
	@[ -n $(call quoted,$(REAL)) ] || $(MAKE) --no-print-directory folds DATA=data/other SPLIT=stratified FOLDS=10
	$(PY) -m geopose compare configs/adapt/lite0.yaml --data $(call quoted,$(DATA)) --folds $(call quoted,$(SPLITS)) --fold $(FOLD) \
	    $(if $(REAL),--test $(call quoted,$(REAL)) --unlabelled $(call quoted,$(REAL)/test) --without true_labels \
	    --runs runs/adapt_real --out docs/adapt_real,--test data/other --unlabelled data/other/train)

# The mean of a run, and of others that follow a comma. It is made anew each time: its run may have been trained again.
release_mean = rm -rf runs/$(1)/mean && $(PY) -m geopose release --run runs/$(1)/fold0 $(2) --out runs/$(1)/mean

# The released run uses tiles of other seeds than the default, and larger ones. lite0_walls, lite0_turn and lite0_large
# want a GPU and many cores. Each later stage starts from a mean of those before, most on other tiles. lite0_sharp trains
# the refiner alone, lite0_gsd the table over gsd. From lite0_tone on, all images have one median brightness.
release: $(READY) ## train runs/synthetic_lite0/fold0 again: configs lite0_walls, lite0_towers, lite0_downtown, lite0_districts, lite0_rivers, lite0_sharp, lite0_turn, lite0_north, lite0_tall, lite0_large, lite0_gsd, lite0_tone, lite0_decks
	$(PY) -m geopose synthesize --out data/synthetic-walls --train 400 --test 8 --size 1024 --seed 1
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_walls.yaml DATA=data/synthetic-walls FOLDS=40 FOLD=0
	$(call release_mean,lite0_walls)
	$(PY) -m geopose synthesize --out data/synthetic-towers --train 450 --test 8 --size 768 --seed 3
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_towers.yaml DATA=data/synthetic-towers SPLIT=cluster FOLDS=45 \
	    FOLD=0
	$(call release_mean,lite0_towers,--others runs/lite0_walls/mean)
	$(PY) -m geopose synthesize --out data/synthetic-downtown --train 450 --test 8 --size 768 --seed 4 --downtown-share 0.5
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_downtown.yaml DATA=data/synthetic-downtown SPLIT=cluster \
	    FOLDS=15 FOLD=0
	$(call release_mean,lite0_downtown,--others runs/lite0_towers/mean)
	$(PY) -m geopose synthesize --out data/synthetic-districts --train 450 --test 8 --size 768 --seed 5 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_districts.yaml DATA=data/synthetic-districts SPLIT=cluster \
	    FOLDS=15 FOLD=0
	$(call release_mean,lite0_districts,--others runs/lite0_downtown/fold0 runs/lite0_towers/mean)
	$(PY) -m geopose synthesize --out data/synthetic-rivers --train 800 --test 8 --size 768 --seed 6 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_rivers.yaml DATA=data/synthetic-rivers SPLIT=cluster FOLDS=15 \
	    FOLD=0
	$(call release_mean,lite0_rivers,--others runs/lite0_districts/mean)
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_sharp.yaml DATA=data/synthetic-rivers SPLIT=cluster FOLDS=15 \
	    FOLD=0
	$(call release_mean,lite0_sharp)
	$(PY) -m geopose synthesize --out data/synthetic-turn --train 1200 --test 8 --size 768 --seed 8 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_turn.yaml DATA=data/synthetic-turn SPLIT=cluster FOLDS=40 FOLD=0
	$(call release_mean,lite0_turn,--others runs/lite0_sharp/mean)
	$(PY) -m geopose synthesize --out data/synthetic-north --train 800 --test 8 --size 768 --seed 9 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_north.yaml DATA=data/synthetic-north SPLIT=cluster FOLDS=15 \
	    FOLD=0
	$(call release_mean,lite0_north,--others runs/lite0_turn/mean)
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_tall.yaml DATA=data/synthetic-north SPLIT=cluster FOLDS=15 \
	    FOLD=0
	$(call release_mean,lite0_tall,--others runs/lite0_north/mean)
	$(PY) -m geopose synthesize --out data/synthetic-many --train 2400 --test 8 --size 768 --seed 12 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_large.yaml DATA=data/synthetic-many SPLIT=cluster FOLDS=60 \
	    FOLD=0
	$(call release_mean,lite0_large,--others runs/lite0_tall/mean)
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_gsd.yaml DATA=data/synthetic-north SPLIT=cluster FOLDS=15 \
	    FOLD=0
	$(PY) -m geopose synthesize --out data/synthetic-tone --train 1200 --test 8 --size 768 --seed 13 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_tone.yaml DATA=data/synthetic-tone SPLIT=cluster FOLDS=30 \
	    FOLD=0
	$(call release_mean,lite0_tone,--others runs/lite0_gsd/fold0 --run-weights 1 2)
	$(PY) -m geopose synthesize --out data/synthetic-decks --train 1200 --test 8 --size 768 --seed 14 --downtown-share 0.35
	@$(MAKE) --no-print-directory train CONFIG=configs/lite0_decks.yaml DATA=data/synthetic-decks SPLIT=cluster FOLDS=30 \
	    FOLD=0
	$(PY) -m geopose release --run runs/lite0_decks/fold0 --others runs/lite0_tone/mean --out runs/synthetic_lite0/new
	rm -rf runs/synthetic_lite0/fold0 && mv runs/synthetic_lite0/new runs/synthetic_lite0/fold0
	$(PY) -m tests.models.test_activations

demo: $(READY) ## predict IMAGE with the newest run and show it in demo.png and demo.html; ARGS="--gsd 0.5" without a georeference
	$(PY) -m geopose demo $(if $(IMAGE),$(call quoted,$(IMAGE))) $(ARGS)

report: $(READY) ## one HTML page about OUT: scores, curves, errors, tiles; needs the truth of the test half
	$(PY) -m geopose report --data $(call quoted,$(DATA)) --pred $(call quoted,$(OUT)) --runs $(RUNS) --out report.html

tensorboard: $(READY) ## training curves of all runs in the browser
	$(PY) -m tensorboard.main --logdir runs

docs: $(READY) ## draw the figures of geometry, network and synthetic cities into docs/
	$(PY) -m geopose figures --out docs

bench: $(READY) ## measure speed and memory, beside those of the common way, into runs/bench; needs an idle machine
	$(PY) -m geopose bench $(ARGS)

test: $(READY) ## run the tests, one file per core
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --dist loadfile

lint: $(READY) ## check style and the direction of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo

# A tarball without a recipe beside it is a download, not a submission.
clean: ## remove caches and submissions; keep data/, runs/ and .venv
	rm -rf .pytest_cache .ruff_cache .import_linter_cache .*.parts report.html demo.png demo.html
	for recipe in *.tar.gz.json; do rm -f "$${recipe%.json}" "$$recipe"; done
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
