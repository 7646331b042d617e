# Everything runs in .venv, made from constraints.txt: the same versions everywhere.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format bench soak upstream clean

.venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	# torch first and pinned: this takes the CPU build where there is one.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

demo: .venv/installed
	$(BIN)/memcube demo

test: check
	$(BIN)/pytest -n 2 --dist worksteal

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# DATA=path/to/locomo10.json adds the recall benchmark on real conversations.
bench: .venv/installed
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/recovery.py
	$(BIN)/python benchmarks/langchain_overhead.py
	$(BIN)/python benchmarks/llama_index_overhead.py
	$(BIN)/python benchmarks/first_token.py
	$(if $(DATA),$(BIN)/python benchmarks/locomo_retrieval.py --data $(DATA))

soak: .venv/installed
	$(BIN)/pytest -m soak --soak -n 2 --timeout 7200

# The frameworks' own tests, over our stores and memories; needs the network.
upstream: .venv/installed
	$(BIN)/python tests/conformance/upstream_store_tests.py
	$(BIN)/python tests/conformance/upstream_llama_index.py $(if $(CHECKOUT),--checkout $(CHECKOUT))

clean:
	rm -rf .venv memcube-demo
