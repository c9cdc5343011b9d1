.PHONY: check lint test slow sweep fix-copies docs tables
check: lint test

lint:
	ruff check .
	ruff format --check .
	pyright
	lint-imports

test:
	pytest

slow:
	pytest -m slow

sweep:
	python tests/sweep/main.py

fix-copies:
	python tests/fix_copies.py
	python tests/fix_weights.py

docs:
	python docs/command_line.py
	python docs/python_stub.py
	python docs/train_readme.py

tables:
	python benchmarks/tables.py
