"""Pipelines that are saved with their own code, and so load where echoform is not installed.

The text of this file stands in the saved copy of each pipeline's file.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline


class SelfContainedPipeline(DiffusionPipeline):
    """A pipeline whose folder holds its own code, so that it loads where echoform is not installed."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load only safetensors, with the classes of the modules beside this one, so that no code has to be trusted."""
        if not kwargs.setdefault("use_safetensors", True):
            raise ValueError(f"use_safetensors must not be turned off, got {kwargs['use_safetensors']}")
        try:
            checks: Any = import_module("echoform.loading").refusing_damage
        except ModuleNotFoundError:  # what travels works without echoform
            checks = nullcontext
        with checks(args[0] if args else kwargs["pretrained_model_name_or_path"]):
            return super().from_pretrained(*args, **kwargs)

    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> dict[str, Any]:
        # diffusers takes a list [file, class] as a request to run the code in that file.
        index = super()._dict_from_json_file(json_file)
        return index | {"_class_name": cls.__name__} if "_class_name" in index else index

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Read model_index.json; where echoform is installed, check it and point it to the modules beside this one."""
        loaded = super().load_config(*args, **kwargs)
        with suppress(ModuleNotFoundError):  # what travels works without echoform
            import_module("echoform.loading").prepare_index(loaded, args[0], cls.__module__)
        return loaded

    def save_config(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write model_index.json together with the code files of our classes that it names."""
        super().save_config(save_directory, *args, **kwargs)
        folder = Path(save_directory)
        files = (folder / self.config_name, *folder.glob("*/config.json"))
        contents = {path: json.loads(path.read_text(encoding="utf-8")) for path in files}
        index = contents[folder / self.config_name]
        index["_class_name"] = [type(self).__module__, type(self).__name__]
        for name in ("_class_name", *self.components):
            if index[name][0].partition(".")[0] != "diffusers":
                code = Path(str(sys.modules[index[name][0]].__file__))
                content = code.read_bytes()
                with suppress(ModuleNotFoundError):  # without echoform, code is in one file already
                    content = import_module("echoform.code_files").content_in_one(code)
                index[name][0] = copy_code(code, folder if name == "_class_name" else folder / name, content)
        for path, content in contents.items():
            content.pop("_name_or_path", None)  # a path of this machine
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def save_pretrained(self, save_directory: Any, **settings: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write a folder that loads without echoform; settings are those of diffusers and of `push_to_hub`."""
        if not settings.pop("safe_serialization", True):
            raise ValueError("weights are written as safetensors alone, got safe_serialization=False")
        push = settings.pop("push_to_hub", False)
        super().save_pretrained(save_directory, **settings)
        if push:
            self.push_to_hub(**({"repo_id": Path(save_directory).resolve().name} | settings))

    def push_to_hub(self, repo_id: str, **settings: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Upload in one commit, by `echoform.hub.push_model` (see its arguments) or, without echoform, by diffusers."""
        try:
            hub = import_module("echoform.hub")
        except ModuleNotFoundError:
            return super().push_to_hub(repo_id, **settings)
        return hub.push_model(self, repo_id, **settings)


# Copied from echoform.code_files.copy_code
def copy_code(code: Path, folder: Path, content: bytes | None = None) -> str:
    """Copy a code file to a folder in place of its other versions; returns its new name, which ends in a hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content, plain = content or code.read_bytes(), re.sub(r"_[0-9a-f]{8}\Z", "", code.stem)
    for other in folder.glob(f"{plain}*.py"):
        if re.fullmatch(f"{plain}(_[0-9a-f]{{8}})?", other.stem) and not other.samefile(code):
            other.unlink()
    name = f"{plain}_{hashlib.sha256(content).hexdigest()[:8]}"
    (folder / f"{name}.py").write_bytes(content)
    return name
