"""Generate images in a process that has diffusers but not echoform; run as a script.

python without_echoform.py PIPELINE OUTPUT_DIR IMAGES_PER_USER GUIDANCE_SCALE STEPS SEED [SEED ...]
"""

from __future__ import annotations

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class _NotInstalled(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in ("echoform", "echoform_train", "echoform_cards"):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def hide_our_packages() -> None:
    """Make the packages of echoform impossible to import, as if they were not installed."""
    sys.meta_path.insert(0, _NotInstalled())


def main(pipeline: str, output_dir: str, images_per_user: str, guidance_scale: str, steps: str, *seeds: str) -> None:
    """Generate images of every user for each seed into OUTPUT_DIR/seed-<seed>, with metadata.jsonl."""
    hide_our_packages()
    import torch
    from diffusers import DiffusionPipeline

    loaded: Any = DiffusionPipeline.from_pretrained(pipeline, trust_remote_code=True)
    users, per_user = list(loaded.config["id2label"].values()), int(images_per_user)
    # Each seed gets its own generator and folder, so that the sets of images are independent.
    for seed in seeds:
        result = loaded(
            users=users,
            num_images_per_user=per_user,
            guidance_scale=float(guidance_scale),
            num_inference_steps=int(steps),
            generator=torch.Generator().manual_seed(int(seed)),
            batch_size=32,
        )
        folder = Path(output_dir) / f"seed-{seed}"
        # The pipeline returns all images of the first user, then of the second, and so on.
        rows = []
        for position, image in enumerate(result.images):
            user, index = users[position // per_user], position % per_user
            name = f"{user}/{index:05d}.png"
            (folder / user).mkdir(parents=True, exist_ok=True)
            image.save(folder / name)
            rows.append({"file_name": name, "user": user, "index": index, "seed": int(seed), "origin": "generated"})
        # Renamed into place: where metadata.jsonl lies, all images lie.
        partial = folder / ".metadata.jsonl.partial"
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.replace(folder / "metadata.jsonl")
    assert not any(name.partition(".")[0] == "echoform" for name in sys.modules)


if __name__ == "__main__":
    main(*sys.argv[1:])
