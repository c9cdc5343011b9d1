"""Scores of a depth pipeline on held-out images: reconstruction, validity and embedding, compared with baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.data.facts import DepthFacts
from echoform_train.data.layout import SPLITS
from echoform_train.depth.baselines import (
    DCT,
    PCA,
    fill_with_mean,
    fill_with_nearest,
    flatten_pixels,
    with_random_weights,
)
from echoform_train.depth.config import depth_facts
from echoform_train.depth.dataset import DepthData, DepthImages
from echoform_train.depth.latents import LatentStatistics, latent_statistics
from echoform_train.depth.metrics import (
    ImageSums,
    abs_rel,
    accuracy_interval,
    delta_105,
    delta_125,
    edge_f1,
    image_sums,
    mae_mm,
    metric_interval,
    psnr_db,
    rmse_mm,
    validity_iou,
)
from echoform_train.depth.probes import LabelledEmbeddings, ProbeResult, knn_probe, linear_probe
from echoform_train.depth.reconstruction import Reconstruction, embed, reconstruct
from echoform_train.engine.errors import UserError
from echoform_train.scoring.intervals import Interval

BLOCK_SIZE = 10
"""Number of consecutive images per bootstrap group if there are few recordings."""
MANY_RECORDINGS = 20
"""Smallest number of recordings at which whole recordings are the bootstrap groups."""


class ScoreSettings(TypedDict):
    """What the scores were measured on."""

    images: dict[str, int]
    """Number of images for train, validation and test."""
    interval_over: str
    """Groups that the bootstrap resamples: "recordings", "blocks of 10 images" or "images"."""
    groups: int
    """Number of bootstrap groups in the test images."""
    classes: int
    """Number of classes that the accuracies tell apart; 0 or 1 without accuracies."""
    peak_mm: float
    """Peak of PSNR: the length of the pipeline's depth range."""
    numbers: int
    """Number of dimensions of the embedding, equal for the model and the transforms."""
    pca_components: int
    """Number of principal components; fewer if there are few training images."""
    data: DepthFacts


@dataclass(frozen=True, repr=False)
class DepthScores:
    """Scores of a model and of the baselines."""

    methods: dict[str, dict[str, Interval]]
    """Keys: name of the method, then name of the score; scores that a method cannot have are missing.

    Methods: model, pca, dct (cosine transform), pixels (raw pixels), untrained (the model with random weights).
    Scores: psnr_db, rmse_mm, mae_mm, abs_rel, delta_105, delta_125, edge_f1 and validity_iou as in metrics.py; knn and
    linear_probe are accuracies of recognising the class, as in probes.py.
    """
    probes: dict[str, dict[str, str]]
    """Settings that each probe chose on validation images, in words. Keys: name of the method, then of the probe."""
    latents: LatentStatistics
    """Statistics of the embeddings of the test images."""
    settings: ScoreSettings

    def __repr__(self) -> str:
        """The table that the command prints."""
        from echoform_train.depth.score_table import table_lines  # it imports this module

        return "\n".join(table_lines(self))

    def to_json(self) -> dict[str, Any]:
        """Content of scores.json."""
        return {
            "methods": {
                method: {name: interval._asdict() for name, interval in scores.items()}
                for method, scores in self.methods.items()
            },
            "probes": self.probes,
            "latents": self.latents,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class ReconstructedTestImages:
    """Reconstructions of the test images, for figures."""

    model: Reconstruction
    others: dict[str, Tensor]
    """Reconstructions by "pca" and "dct", float32 [N, 1, H, W] in model range."""


def score_pipeline(pipeline: DepthAutoencoderPipeline, data: DepthData) -> tuple[DepthScores, ReconstructedTestImages]:
    """Measure a pipeline and the baselines on the test images.

    Reconstructions are rounded to whole sensor units and compared at the resolution of the model, over pixels with a
    reading. For every method, transforms and probes are fitted on the training images, and the settings of the probes
    are chosen on the validation images.

    Args:
        pipeline: On any device.
        data: Images at the resolution and scale of the pipeline; without classes there are no accuracies.

    Raises:
        ValueError: If there are no test images or none of them has a reading, or if there are classes but no validation
            images.
    """
    needed = ("test", "validation") if len(data.id2label) > 1 else ("test",)
    if empty := [part for part in needed if len(getattr(data, part)) == 0]:
        raise UserError(
            f"scoring needs {' and '.join(needed)} images, the split of {data.source} has none for {empty[0]}"
        )
    # Reconstructions by the model and by the transforms, which are fitted on training images.
    found = reconstruct(pipeline.autoencoder, data.test.units, data.scale)
    latent_dim = found.latents.shape[1]
    groups, interval_over = bootstrap_groups(data.test)
    pca = PCA.fit(fill_with_nearest(*data.scale.to_model(data.train.units)), latent_dim)
    dct = DCT(pca.mean.shape[0], min(latent_dim, pca.mean.size))
    others = _reconstruct_by_transforms(found, {"pca": pca, "dct": dct})
    sums = {"model": found.sums(data.scale)}
    for name, image in others.items():
        sums[name] = image_sums(data.scale.to_mm(image), data.scale.to_mm(found.depth), found.valid)
    methods = {name: _reconstruction_scores(of_method, data.scale.peak_mm, groups) for name, of_method in sums.items()}

    # Classes, if there are any, are recognised from the embeddings.
    probes: dict[str, dict[str, ProbeResult]] = {}
    if len(data.id2label) > 1:
        probes = _probe_methods(pipeline.autoencoder, data, found)
    for name, results in probes.items():
        accuracies = {probe: accuracy_interval(result.correct, groups) for probe, result in results.items()}
        methods[name] = methods.get(name, {}) | accuracies

    settings: ScoreSettings = {
        "images": {part: len(getattr(data, part)) for part in SPLITS},
        "interval_over": interval_over,
        "groups": len(np.unique(groups)),
        "classes": len(data.id2label),
        "peak_mm": data.scale.peak_mm,
        "numbers": latent_dim,
        "pca_components": len(pca.components),
        "data": depth_facts(data),
    }
    chosen = {name: {probe: result.chosen for probe, result in results.items()} for name, results in probes.items()}
    scores = DepthScores(methods, chosen, latent_statistics(found.latents.numpy()), settings)
    return scores, ReconstructedTestImages(found, others)


def bootstrap_groups(images: DepthImages) -> tuple[np.ndarray, str]:
    """Group of each image, int64 [N], and the name of such a group; the bootstrap resamples whole groups.

    Groups are whole recordings if there are at least 20, else blocks of 10 consecutive images of a recording. Where
    that is one block, each image is a group, because one group does not tell how much groups differ.
    """
    recordings = np.unique([str(recording) for recording in images.recordings], return_inverse=True)[1]
    if None not in images.recordings and recordings.max() + 1 >= MANY_RECORDINGS:
        return recordings, "recordings"
    block = np.zeros(len(recordings), dtype=np.int64)
    for recording in np.unique(recordings):
        in_recording = recordings == recording
        block[in_recording] = np.arange(in_recording.sum()) // BLOCK_SIZE
    groups = recordings * (len(recordings) + 1) + block
    if len(np.unique(groups)) == 1:
        return np.arange(len(recordings)), "images"
    return groups, f"blocks of {BLOCK_SIZE} images"


def _reconstruct_by_transforms(found: Reconstruction, transforms: dict[str, PCA | DCT]) -> dict[str, Tensor]:
    """Reconstructions of the test images by each transform, float32 [N, 1, H, W], model range."""
    images = fill_with_nearest(found.depth, found.valid)
    return {
        name: torch.from_numpy(transform.decode(transform.encode(images)))[:, None]
        for name, transform in transforms.items()
    }


def _reconstruction_scores(sums: ImageSums, peak_mm: float, groups: np.ndarray) -> dict[str, Interval]:
    metrics: dict[str, Callable[[ImageSums], float]] = {
        "psnr_db": lambda sums: psnr_db(sums, peak_mm),
        "rmse_mm": rmse_mm,
        "mae_mm": mae_mm,
        "abs_rel": abs_rel,
        "delta_105": delta_105,
        "delta_125": delta_125,
        "edge_f1": edge_f1,
    }
    if sums.valid_both is not None:
        metrics["validity_iou"] = validity_iou
    return {name: metric_interval(sums, metric, groups) for name, metric in metrics.items()}


def _probe_methods(
    model: DepthAutoencoder, data: DepthData, found: Reconstruction
) -> dict[str, dict[str, ProbeResult]]:
    """Recognise the classes of the test images from the embeddings of every method; results by method and probe."""
    return {
        name: {"knn": knn_probe(*parts), "linear_probe": linear_probe(*parts)}
        for name, parts in _embeddings(model, data, found).items()
    }


def _embeddings(
    model: DepthAutoencoder, data: DepthData, found: Reconstruction
) -> dict[str, tuple[LabelledEmbeddings, LabelledEmbeddings, LabelledEmbeddings]]:
    """Embeddings of the training, validation and test images by every method."""
    parts = (data.train, data.validation, data.test)
    first_two = [embed(model, part.units, data.scale).numpy() for part in parts[:2]]
    embeddings = {"model": [*first_two, found.latents.numpy()]}
    # Transforms and raw pixels need a value in every pixel.
    latent_dim = found.latents.shape[1]
    images = fill_with_mean([data.scale.to_model(part.units) for part in parts])
    for name, transform in {"pca": PCA.fit(images[0], latent_dim), "dct": DCT(images[0].shape[1], latent_dim)}.items():
        embeddings[name] = [transform.encode(image) for image in images]
    embeddings["pixels"] = [flatten_pixels(image) for image in images]
    untrained = with_random_weights(model)
    untrained.to(model.device)  # pyright: ignore[reportArgumentType]
    embeddings["untrained"] = [embed(untrained, part.units, data.scale).numpy() for part in parts]

    def labelled(of_parts: list[np.ndarray]) -> list[LabelledEmbeddings]:
        labels = [part.labels.numpy() for part in parts if part.labels is not None]
        return [LabelledEmbeddings(of_part, of_labels) for of_part, of_labels in zip(of_parts, labels, strict=True)]

    named = {name: labelled(of_parts) for name, of_parts in embeddings.items()}
    return {name: (train, validation, test) for name, (train, validation, test) in named.items()}
