"""One command of the program `echoform` per file: its settings and `main`."""
