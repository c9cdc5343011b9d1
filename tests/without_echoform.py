"""Fresh processes with empty caches, in which echoform can be made impossible to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Makes Python behave as after `pip uninstall echoform`.
UNINSTALLED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "echoform":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run_alone(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script in a fresh process inside `folder`; its errors fail the test."""
    caches = {"HF_HOME": str(folder / "hf"), "HF_MODULES_CACHE": str(folder / "modules")}
    settings = os.environ | caches | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-c", script], env=settings, capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
