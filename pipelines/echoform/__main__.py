"""`python -m echoform`: the program `echoform`, where the package of the laboratory is installed too."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("echoform_train", run_name="__main__", alter_sys=True)
