"""The gallery of a pipeline's card: images of each user, with what makes them again."""

from __future__ import annotations

from pathlib import Path

import torch

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_cards.facts import GalleryImage
from echoform_train.publishing.cards.common import CardFacts

GALLERY_USERS = 12
"""Most users in the gallery."""


def write_gallery(pipeline: VQLDMDopplerPipeline, folder: Path) -> CardFacts:
    """Write one image of each of the first users as gallery-00.png, gallery-01.png ...

    Args:
        pipeline: The exported pipeline, whose own steps and guidance are used, so that a reader gets the same images.
        folder: Folder of the pipeline.

    Returns:
        What the card says of the images.
    """
    pipeline.set_progress_bar_config(disable=True)
    labels = pipeline.config["id2label"]
    users = [labels[str(index)] for index in range(len(labels))][:GALLERY_USERS]
    gallery: list[GalleryImage] = []
    for number, user in enumerate(users):
        result = pipeline([user], generator=torch.Generator().manual_seed(number))
        file = f"gallery-{number:02d}.png"
        result.images[0].save(folder / file)
        gallery.append(
            {
                "file": file,
                "user": user,
                "seed": number,
                "num_inference_steps": int(pipeline.config["num_inference_steps"]),
                "guidance_scale": float(pipeline.config["guidance_scale"]),
            }
        )
    return {"gallery": gallery}
