.PHONY: check lint test slow
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
