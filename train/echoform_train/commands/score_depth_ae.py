"""`echoform score depth-ae`: what a depth autoencoder and its embedding are worth, beside linear transforms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.baselines import DCT, PCA, filled, filled_with_mean, raw_pixels, untrained
from echoform_train.depth.config import DepthSourceConfig, depth_facts, load_depth_source
from echoform_train.depth.dataset import DepthData, DepthImages
from echoform_train.depth.figures import (
    save_interpolations,
    save_map,
    save_reconstruction_figure,
    save_spectrum,
)
from echoform_train.depth.latents import MAP_POINTS, analyse_latents, flat_map
from echoform_train.depth.metrics import (
    ImageSums,
    abs_rel,
    delta_105,
    delta_125,
    edge_f1,
    image_sums,
    interval,
    mae_mm,
    psnr_db,
    rmse_mm,
    share_interval,
    validity_iou,
)
from echoform_train.depth.probes import Embedded, knn_probe, linear_probe
from echoform_train.depth.reconstruction import Reconstruction, embed, reconstruct
from echoform_train.depth.scale import Scale
from echoform_train.engine.files import SCORES
from echoform_train.engine.provenance import provenance
from echoform_train.publishing.card import write_card
from echoform_train.scoring.paths import scoring_paths

BLOCK = 10
"""Consecutive images that the bootstrap draws together where recordings are few."""
MANY_RECORDINGS = 20
SHOWN = 8

LABELS = {
    "psnr_db": "PSNR, dB",
    "rmse_mm": "RMSE, mm",
    "mae_mm": "MAE, mm",
    "abs_rel": "AbsRel",
    "delta_105": "delta < 1.05",
    "delta_125": "delta < 1.25",
    "edge_f1": "Depth-edge F1",
    "validity_iou": "Validity IoU",
    "knn": "k-NN accuracy",
    "linear_probe": "Linear probe accuracy",
}
"""What each score is, in words, in the order to show them."""

METHODS = {
    "model": "model",
    "pca": "PCA",
    "dct": "DCT",
    "pixels": "raw pixels",
    "untrained": "untrained",
}
"""Whose scores stand beside one another."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score a depth autoencoder on held-out images: reconstruction, validity and embedding, beside baselines."""

    pipeline: tyro.conf.Positional[str]
    """Exported pipeline: a folder, or user/model on the Hub."""
    data: tyro.conf.OmitArgPrefixes[DepthSourceConfig]
    output: Path | None = None
    """Folder for scores.json and the pictures. Default: `scores` beside the folder of the pipeline."""
    seed: int = 0
    """Seed of the training, which drew the split and the rooms."""
    card: bool = True
    """Write the scores into the card of the pipeline, where it is a folder."""
    device: str = "auto"
    """Where the model runs; auto: on the GPU, if there is one."""


def main(config: Config) -> None:
    """Score, print the table, write the JSON file and the pictures, and renew the card."""
    folder = Path(config.pipeline)
    output, split_file = scoring_paths(config.pipeline, config.output, config.data.split_file)
    pipeline = DepthAutoencoderPipeline.from_pretrained(config.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    pipeline.to(device)
    data = load_depth_source(
        config.data,
        split_file,
        config.seed,
        resolution=pipeline.autoencoder.config["sample_size"],
        depth_range_mm=pipeline.config["depth_range_mm"],
        units_per_mm=pipeline.config["units_per_mm"],
        invalid_values=pipeline.config["invalid_values"],
    )
    scores, kept = score(pipeline, data)
    output.mkdir(parents=True, exist_ok=True)
    (output / SCORES).write_text(json.dumps(scores | provenance(), indent=1) + "\n")
    draw(pipeline, data, scores, kept, output)
    if folder.is_dir() and config.card:
        write_card(folder, scores=card_scores(scores))
    print("\n".join(describe(scores)))
    print(f"Written to {output}")


@dataclass(frozen=True)
class Kept:
    """What the pictures are made from."""

    model: Reconstruction
    made: dict[str, torch.Tensor]
    """Reconstructions of the test images by the other methods, float32 [N, 1, H, W], model range."""


def score(pipeline: DepthAutoencoderPipeline, data: DepthData) -> tuple[dict[str, Any], Kept]:
    """Measure a pipeline and the baselines on the test part of `data`; baselines are fitted on the training part.

    Reconstructions are compared at the size of the model, at pixels with a reading, rounded to the sensor's units. The
    peak of PSNR is the length of the pipeline's depth range, for every method. k-NN and the linear probe are trained on
    the training part, their settings chosen on the validation part, for every method alike.

    Returns:
        JSON-able: "methods", by the names of METHODS and in each by those of LABELS {"mean", "low", "high"}, a 95 %
        bootstrap interval over "interval_over"; "probes", what was chosen; "latents", facts of the embedding;
        "settings". And what the pictures are made from.

    Raises:
        ValueError: If there are no test images or none of them has a reading, or there are classes but no validation
            images to choose the settings of the probes on.
    """
    needed = ("test", "validation") if len(data.id2label) > 1 else ("test",)
    if empty := [part for part in needed if len(getattr(data, part)) == 0]:
        raise ValueError(
            f"scoring needs {' and '.join(needed)} images, the split of {data.source} has none for {empty[0]}"
        )
    model, scale = pipeline.autoencoder, Scale(data.depth_range_mm, data.units_per_mm)
    found = reconstruct(model, data.test.units, scale)
    latent_dim = found.latents.shape[1]
    groups, interval_over = _groups(data.test)

    train_images = filled(*scale.to_model(data.train.units))
    test_images = filled(found.depth, found.valid)
    transforms = {
        "pca": PCA.fit(train_images, latent_dim),
        "dct": DCT(train_images.shape[1], min(latent_dim, train_images.shape[1] ** 2)),
    }
    made = {
        name: torch.from_numpy(transform.decode(transform.encode(test_images)))[:, None]
        for name, transform in transforms.items()
    }
    sums = {"model": found.sums(scale)} | {
        name: image_sums(scale.to_mm(image), scale.to_mm(found.depth), found.valid) for name, image in made.items()
    }
    methods: dict[str, dict[str, Any]] = {
        name: _reconstruction_scores(of, scale.peak_mm, groups) for name, of in sums.items()
    }
    probes: dict[str, Any] = {}
    if len(data.id2label) > 1:
        for name, parts in _embeddings(pipeline, data, scale, found, latent_dim).items():
            hits = {"knn": knn_probe(*parts), "linear_probe": linear_probe(*parts)}
            probes[name] = {probe: result.chosen for probe, result in hits.items()}
            methods.setdefault(name, {}).update(
                {probe: share_interval(result.hits, groups)._asdict() for probe, result in hits.items()}
            )
    return {
        "methods": methods,
        "probes": probes,
        "latents": analyse_latents(found.latents.numpy()),
        "settings": {
            "images": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
            "interval_over": interval_over,
            "groups": len(np.unique(groups)),
            "peak_mm": scale.peak_mm,
            "numbers": latent_dim,
            "pca_components": len(transforms["pca"].components),
            "data": depth_facts(data),
        },
    }, Kept(found, made)


def describe(scores: dict[str, Any]) -> Iterator[str]:
    """The scores as lines of a table."""
    width = max(map(len, LABELS.values()))
    methods = [name for name in METHODS if name in scores["methods"]]
    yield f"{'':<{width}}  {'model (95 % interval)':>30}" + "".join(f"{METHODS[name]:>12}" for name in methods[1:])
    for name, label in LABELS.items():
        of_model = scores["methods"]["model"].get(name)
        if of_model is None:
            continue
        value = f"{of_model['mean']:.4g} ({of_model['low']:.4g} .. {of_model['high']:.4g})"
        others = [scores["methods"][method].get(name) for method in methods[1:]]
        yield f"{label:<{width}}  {value:>30}" + "".join(
            f"{'-' if other is None else format(other['mean'], '.4g'):>12}" for other in others
        )
    settings = scores["settings"]
    yield (
        f"{settings['images']['test']} held-out images; peak of PSNR {settings['peak_mm']:g} mm; {settings['numbers']} "
        f"numbers an image, {settings['pca_components']} of PCA from {settings['images']['train']} training images; "
        "PCA and DCT say nothing about validity"
    )


def card_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """The model's scores as `write_card` takes them, with those of the baselines beside each."""
    methods, settings = scores["methods"], scores["settings"]
    columns = {
        "pca": f"PCA-{settings['pca_components']}",
        "dct": f"DCT-{settings['numbers']}",
        "pixels": "raw pixels",
        "untrained": "untrained encoder",
    }
    return {
        name: value
        | {
            "n": settings["groups"],
            "interval_over": settings["interval_over"],
            "baselines": {
                label: methods[method][name]["mean"]
                for method, label in columns.items()
                if name in methods.get(method, {})
            }
            or None,
        }
        for name, value in methods["model"].items()
    }


def draw(pipeline: DepthAutoencoderPipeline, data: DepthData, scores: dict[str, Any], kept: Kept, output: Path) -> None:
    """Write the pictures: reconstructions with errors in mm, walks between embeddings, their spectrum and their map."""
    scale, model = Scale(data.depth_range_mm, data.units_per_mm), kept.model
    shown = torch.linspace(0, len(data.test) - 1, min(SHOWN, len(data.test))).long()
    rows = {"model": model.reconstructed} | kept.made
    save_reconstruction_figure(
        scale.to_mm(model.depth[shown]),
        model.valid[shown],
        {METHODS[name]: scale.to_mm(made[shown]) for name, made in rows.items()},
        model.valid_logit[shown] > 0,
        output / "reconstructions.png",
    )
    pairs = [(int(shown[place]), int(shown[-1 - place])) for place in range(min(4, len(shown) // 2))]
    walks = []
    for first, last in pairs:
        ends = [data.test.units[place, 0].to(torch.int32).numpy() for place in (first, last)]
        walks.append(torch.stack([torch.from_numpy(step.astype(np.float32)) for step in _walk(pipeline, *ends)]))
    if walks:
        save_interpolations(
            torch.stack(walks) / scale.units_per_mm, scale.depth_range_mm, output / "interpolations.png"
        )
    save_spectrum(scores["latents"], output / "spectrum.png")
    few = torch.linspace(0, len(data.test) - 1, min(MAP_POINTS, len(data.test))).long()
    if len(few) >= 4:
        labels = None if data.test.labels is None else data.test.labels[few].numpy()
        save_map(flat_map(model.latents[few].numpy()), labels, data.id2label, output / "map.png")


def _walk(pipeline: DepthAutoencoderPipeline, first: np.ndarray, last: np.ndarray) -> list[np.ndarray]:
    return pipeline.interpolate(first, last, steps=SHOWN).depth


def _reconstruction_scores(sums: ImageSums, peak_mm: float, groups: np.ndarray) -> dict[str, Any]:
    numbers: dict[str, Callable[[ImageSums], float]] = {
        "psnr_db": lambda sums: psnr_db(sums, peak_mm),
        "rmse_mm": rmse_mm,
        "mae_mm": mae_mm,
        "abs_rel": abs_rel,
        "delta_105": delta_105,
        "delta_125": delta_125,
        "edge_f1": edge_f1,
    }
    if sums.valid_both is not None:
        numbers["validity_iou"] = validity_iou
    return {name: interval(sums, number, groups)._asdict() for name, number in numbers.items()}


def _embeddings(
    pipeline: DepthAutoencoderPipeline, data: DepthData, scale: Scale, found: Reconstruction, latent_dim: int
) -> dict[str, tuple[Embedded, Embedded, Embedded]]:
    """Embeddings of all parts by every method; for those without validity, holes are filled with the training mean."""
    parts = (data.train, data.validation, data.test)
    images = filled_with_mean([scale.to_model(part.units) for part in parts])
    transforms = {"pca": PCA.fit(images[0], latent_dim), "dct": DCT(images[0].shape[1], latent_dim)}
    known = {name: [transform.encode(image) for image in images] for name, transform in transforms.items()}
    known["pixels"] = [raw_pixels(image) for image in images]
    fresh = untrained(pipeline.autoencoder)
    fresh.to(pipeline.device)  # pyright: ignore[reportArgumentType]
    known["untrained"] = [embed(fresh, part.units, scale).numpy() for part in parts]
    seen = [embed(pipeline.autoencoder, part.units, scale).numpy() for part in parts[:2]]
    known = {"model": [*seen, found.latents.numpy()]} | known
    return {
        name: tuple(
            Embedded(embeddings, part.labels.numpy())
            for embeddings, part in zip(columns, parts, strict=True)
            if part.labels is not None
        )
        for name, columns in known.items()
    }  # pyright: ignore[reportReturnType]


def _groups(images: DepthImages) -> tuple[np.ndarray, str]:
    """Which images the bootstrap draws together, int64 [N], and what such a group is."""
    recordings = np.unique([str(recording) for recording in images.recordings], return_inverse=True)[1]
    if None not in images.recordings and recordings.max() + 1 >= MANY_RECORDINGS:
        return recordings, "recordings"
    # Blocks of neighbours inside each recording, in the order of the files.
    place = np.zeros(len(recordings), dtype=np.int64)
    for recording in np.unique(recordings):
        mine = recordings == recording
        place[mine] = np.arange(mine.sum()) // BLOCK
    return recordings * (len(recordings) + 1) + place, f"blocks of {BLOCK} images"
