"""`python -m echoform_train`: the program `echoform`."""

from __future__ import annotations

from echoform_train.cli import main

if __name__ == "__main__":
    main()
