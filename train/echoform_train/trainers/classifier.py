"""`echoform train classifier`: train a classifier of users that knows how sure it is, and exports to transformers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from echoform.spectrogram_resnet import SpectrogramResNet
from echoform_train.data.config import data_facts, load_data
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.data.split_files import write_split
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import CHECKPOINTS, FACTS, ONNX, SPLIT
from echoform_train.engine.json_files import write_json
from echoform_train.engine.output_folders import new_folder
from echoform_train.engine.provenance import provenance
from echoform_train.engine.resume import data_content, resume_settings
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.card import write_card
from echoform_train.publishing.classifier_export import (
    check_not_nobody,
    check_pictures,
    make_classifier,
    make_processor,
    write_onnx,
)
from echoform_train.publishing.push import check_push_asked_for, push_if_asked_for
from echoform_train.scoring.augmentations import AUGMENTATIONS, Augmentation, chain
from echoform_train.scoring.calibration import fit_temperature
from echoform_train.scoring.chance import chance_sentence, nothing_learned
from echoform_train.scoring.classifier_config import Config as Config
from echoform_train.scoring.classifier_facts import accuracy, card_scores, card_tables
from echoform_train.scoring.classifier_training import (
    fit_classifier,
    inference_batches,
    logits_of,
    shrink,
    shuffled_indices,
)
from echoform_train.scoring.classifier_way import Lessons, Way
from echoform_train.scoring.finished_networks import FinishedNetworks, require_room
from echoform_train.scoring.strangers import (
    Fold,
    Scale,
    UserFeatures,
    folds_of_users,
    rate_on_new_people,
    slope_between,
    threshold_for,
)

CANDIDATES: dict[str, tuple[str, ...]] = {
    "time roll": ("time roll",),
    "time roll, gain and noise": ("time roll", "gain", "noise floor"),
    "time roll and SpecAugment": ("time roll", "SpecAugment"),
}
"""Augmentations that `auto` tries, by name."""
FOLDS = 3
"""Number of groups of users of whom each is left out of one training."""

VALIDATIONS = 10
"""Number of validations of each training."""

_PEAK_RATE, _WEIGHT_DECAY = 2e-3, 1.0  # those of the ResNet of a study
_CHOICE, _LEFT_OUT, _ORDER = 1, 2, 3  # mixed into the seed, one per use of random numbers


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train, calibrate and export a classifier to OUTPUT_DIR.

    Raises:
        UserError: If the data have no validation or test images, or fewer than two users, or cannot be read by a
            classifier.
        PushError: If the Hub refuses the push.
    """
    require_room(config.output_dir, config.resume_from_checkpoint)
    check_push_asked_for(config)
    result = train(config, load_data(config.data, config.seed), callbacks)
    push_if_asked_for(config, result.exported)
    return result


def train(
    config: Config, data: SpectrogramData, callbacks: Callbacks = NO_CALLBACKS, *, way: Way | None = None
) -> TrainingResult:
    """Train on `data`; the exported folder of the result is OUTPUT_DIR.

    Args:
        config: The settings; with a `way`, that of the augmentation does nothing.
        data: The images with their split.
        callbacks: Called while the classifier itself is trained.
        way: How the images are shown to the classifiers. Default: as --augmentation says.
    """
    started = time.monotonic()
    _check(config, data)
    device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
    settings = resume_settings(config, data_content(data), free=("onnx",))
    settings |= {} if way is None else {"way": way.settings()}
    finished = FinishedNetworks(config.output_dir, settings, config.resume_from_checkpoint)
    trainer = _Trainer(config, device, len(data.id2label), finished)
    users = [data.id2label[index] for index in sorted(data.id2label)]
    shape = "x".join(map(str, data.train.pixels.shape[1:]))
    print(f"Classifier of {len(users)} users: {shape}, {len(data.train)} images")

    way = way or trainer.choose_way(data)
    network = trainer.fit(data.train, data.validation, way, config.seed, callbacks=callbacks)
    logits = {"validation": logits_of(network, data.validation.pixels), "test": logits_of(network, data.test.pixels)}
    temperature = fit_temperature(logits["validation"], data.validation.users)
    nobody = trainer.find_threshold(data, way, network) if config.nobody else None
    model = make_classifier(
        network,
        users,
        temperature=temperature,
        nobody=None if nobody is None else (nobody.threshold, nobody.slope, *nobody.features),
    )
    scores = card_scores(logits["test"], data.test.users, temperature, None if nobody is None else nobody.facts)
    facts = {
        "kind": "classifier",
        "seed": config.seed,
        "data": data_facts(data),
        "classifier": {
            "augmentation": way.name,
            "temperature": temperature,
            "nobody": None if nobody is None else nobody.facts,
            **card_tables(logits["test"], data.test, data),
        },
        "parameters": sum(value.numel() for value in network.parameters()),
        "images_seen": trainer.images_seen,
        **provenance(),
    }
    processor = make_processor(data)
    with new_folder(config.output_dir, "--output-dir", but=(CHECKPOINTS,)) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        write_split(data.split, folder / SPLIT)
        if config.onnx:
            write_onnx(model, folder / ONNX, processor.height, processor.width)
        facts["seconds"] = time.monotonic() - started
        write_json(folder / FACTS, facts)
        write_card(folder, scores=scores, license=config.license, people=config.people)
    finished.remove()
    result = TrainingResult(
        output_dir=config.output_dir,
        exported=config.output_dir,
        metrics={"accuracy": accuracy(logits["validation"], data.validation.users)},
        best_after=trainer.steps * config.train_batch_size,
        images_seen=trainer.images_seen,
        seconds=facts["seconds"],
        facts=facts,
    )
    _print(scores, nobody, way.name, result, len(users))
    return result


@dataclass
class _Nobody:
    """When the answer is "nobody"."""

    threshold: float
    """Distance beyond which an image shows nobody whom the classifier knows."""
    slope: float
    features: tuple[Tensor, Tensor]
    """Centres and whitening of `UserFeatures`."""
    facts: dict[str, Any]


class _Trainer:
    def __init__(self, config: Config, device: torch.device, num_users: int, finished: FinishedNetworks) -> None:
        self.config = config
        self.finished = finished
        self.device = device
        self.num_users = num_users
        self.steps = max(1, config.max_train_images // config.train_batch_size)
        self.images_seen = 0

    def fit(
        self,
        images: Spectrograms,
        validation: Spectrograms,
        way: Way,
        seed: int,
        *,
        left_out: tuple[int, ...] = (),
        part: int = 1,
        callbacks: Callbacks = NO_CALLBACKS,
    ) -> SpectrogramResNet:
        """Train a network of the users in `images`, whose ids count from 0, and keep its best weights on validation."""
        config, channels, num_users = self.config, images.pixels.shape[1], int(images.users.max()) + 1
        steps = max(1, self.steps // part)
        self.images_seen += steps * config.train_batch_size
        if (weights := self.finished.load(self.images_seen)) is not None:
            with torch.random.fork_rng():
                network = SpectrogramResNet(channels, num_users)
            network.load_state_dict(weights)
            return network.to(self.device).to(memory_format=torch.channels_last).eval()

        validations = 0

        def validate(network: SpectrogramResNet) -> float:
            nonlocal validations
            validations += 1
            logits = logits_of(network, validation.pixels)
            if callbacks.on_validation is not None:
                seen = round(steps * validations / VALIDATIONS) * config.train_batch_size
                # What the callback draws must not change the training.
                with torch.random.fork_rng():
                    callbacks.on_validation({"images_seen": seen, "accuracy": accuracy(logits, validation.users)})
            # The cross-entropy decides between equal accuracies.
            return accuracy(logits, validation.users) - 1e-6 * float(F.cross_entropy(logits, validation.users))

        lessons = way.lessons(images, left_out, config.train_batch_size, mix_seed(seed, _ORDER))
        network = fit_classifier(
            lambda: SpectrogramResNet(channels, num_users),
            lessons.batches,
            more=lessons.more,
            more_weight=lessons.more_weight,
            more_smoothing=lessons.more_smoothing,
            steps=steps,
            seed=seed,
            peak_rate=_PEAK_RATE,
            weight_decay=_WEIGHT_DECAY,
            fused=True,
            device=self.device,
            validate=validate,
            validations=VALIDATIONS,
        )
        self.finished.save(self.images_seen, network.state_dict())
        return network

    def choose_way(self, data: SpectrogramData) -> Way:
        """The augmentation of the settings; auto: the best on validation images after a third of the training."""
        if self.config.augmentation != "auto":
            return _Classical(self.config.augmentation)
        found = {}
        for name in CANDIDATES:
            seed = mix_seed(self.config.seed, _CHOICE)
            network = self.fit(data.train, data.validation, _Classical(name), seed, part=3)
            logits = logits_of(network, data.validation.pixels)
            found[name] = accuracy(logits, data.validation.users)
            print(f"  {name}: {100 * found[name]:.1f} % of validation images")
        return _Classical(max(found, key=lambda name: found[name]))

    def find_threshold(self, data: SpectrogramData, way: Way, network: SpectrogramResNet) -> _Nobody | None:
        """The threshold for "nobody", from trainings that each leave some users out; None for fewer than 3 users."""
        if self.num_users < 3:
            print('No answer "nobody": it is measured by leaving users out, which needs at least 3 of them')
            return None
        generator = torch.Generator().manual_seed(mix_seed(self.config.seed, _LEFT_OUT))
        groups = folds_of_users(self.num_users, FOLDS, generator)
        folds = [self._fold(data, way, users) for users in groups]
        rate = self.config.false_accept_rate
        users = UserFeatures.of(_features(network, data.train.pixels), data.train.users)
        own = Scale.of(users.scores(_features(network, data.validation.pixels)))
        strangers = [scores for fold in folds for scores in fold.tuning]
        threshold = own.restore(threshold_for(strangers, rate))
        slope = slope_between(torch.cat([fold.known for fold in folds]), torch.cat(strangers)) / own.deviation
        rejected = users.scores(_features(network, data.test.pixels)) < threshold
        facts = {
            "threshold": -threshold,
            "asked_rate": rate,
            "false_accept_rate": rate_on_new_people(folds, rate),
            "false_reject_rate": float(rejected.double().mean()),
            "left_out": [[data.id2label[user] for user in fold.users] for fold in folds],
        }
        return _Nobody(-threshold, slope, (users.centres, users.whitening), facts)

    def _fold(self, data: SpectrogramData, way: Way, left_out: tuple[int, ...]) -> Fold:
        """Train without some users, and score their images."""
        train, validation = (_without(images, left_out) for images in (data.train, data.validation))
        seed = mix_seed(self.config.seed, _LEFT_OUT, *left_out)
        network = self.fit(train, validation, way, seed, left_out=left_out)

        known_users = UserFeatures.of(_features(network, train.pixels), train.users)
        scale = Scale.of(known := known_users.scores(_features(network, validation.pixels)))

        def scores(images: Spectrograms, user: int) -> Tensor:
            return scale.standardise(known_users.scores(_features(network, images.pixels[images.users == user])))

        return Fold(
            users=left_out,
            tuning=tuple(torch.cat([scores(data.train, user), scores(data.validation, user)]) for user in left_out),
            test=tuple(scores(data.test, user) for user in left_out),
            known=scale.standardise(known),
        )


def _check(config: Config, data: SpectrogramData) -> None:
    check_data(data)
    if config.max_train_images < config.train_batch_size:
        raise UserError(
            f"--max-train-images must be at least --train-batch-size, {config.train_batch_size}, "
            f"got {config.max_train_images}"
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU that torch can use, there is none")


def check_data(data: SpectrogramData) -> None:
    """Refuse data that no classifier can be trained on.

    Raises:
        UserError: If there are no training, validation or test images, or fewer than two users, a user has no training
            images or is called "nobody", or the image processor could not read the pictures.
    """
    for side, images in {"training": data.train, "validation": data.validation, "test": data.test}.items():
        if not len(images):
            raise UserError(f"a classifier needs {side} images, the split of {data.source} has none")
    if len(data.id2label) < 2:
        raise UserError(f"a classifier needs at least 2 users, {data.source} has {len(data.id2label)}")
    if missing := [name for user, name in data.id2label.items() if not bool((data.train.users == user).any())]:
        raise UserError(f"each user needs training images, the split of {data.source} has none of {missing[0]}")
    check_not_nobody(data.id2label.values())
    check_pictures(data)


@torch.inference_mode()
def _features(network: SpectrogramResNet, pixels: Tensor) -> Tensor:
    """Features float32 [N, F] on the CPU of pixels uint8 [N, C, H, W]; N may be 0."""
    found = [network.features(part).float().cpu() for part in inference_batches(network, pixels, 256) if len(part)]
    return torch.cat(found) if found else torch.empty(0, network.head.in_features)


@dataclass(frozen=True)
class _Classical:
    """A `Way` of real images only."""

    name: str
    """One of CANDIDATES."""

    def settings(self) -> dict[str, Any]:
        """Nothing: the flags name the augmentation."""
        return {}

    def lessons(self, images: Spectrograms, left_out: tuple[int, ...], batch_size: int, seed: int) -> Lessons:
        """Augmented batches."""
        augmentation = chain([AUGMENTATIONS[part] for part in CANDIDATES[self.name]])
        return Lessons(batches=_batches(images, augmentation, batch_size, seed))


def _batches(
    images: Spectrograms, augmentation: Augmentation, batch_size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches without end: augmented images in model range, and their users."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.cat([shrink(to_model(part)) for part in images.pixels.split(256)])
    order = shuffled_indices(len(images), generator)
    while True:
        chosen = torch.tensor(list(islice(order, batch_size)))
        yield augmentation(small[chosen], generator), images.users[chosen]


def _without(images: Spectrograms, left_out: tuple[int, ...]) -> Spectrograms:
    """The images of all other users, whose ids count from 0 again."""
    is_kept = ~torch.isin(images.users, torch.tensor(left_out))
    kept = images.select(is_kept.nonzero()[:, 0])
    shift = (kept.users[:, None] > torch.tensor(left_out)).sum(1)
    return replace(kept, users=kept.users - shift)


def _print(
    scores: dict[str, dict[str, Any]],
    nobody: _Nobody | None,
    augmentation: str,
    result: TrainingResult,
    num_users: int,
) -> None:
    found, ece = scores["accuracy"], scores["ece"]
    print(f"Augmentation: {augmentation}")
    print(
        f"Accuracy on {found['n']} test images: {100 * found['mean']:.1f} % "
        f"({100 * found['low']:.1f} to {100 * found['high']:.1f})"
    )
    print(nothing_learned(found, num_users, who="classifier") or chance_sentence(num_users))
    before = ece["baselines"]["before calibration"]
    print(f"Calibration error: {100 * ece['mean']:.1f} %, {100 * before:.1f} % before")
    if nobody is not None:
        measured = nobody.facts["false_accept_rate"]
        shown = "" if measured is None else f" accepts {100 * measured:.1f} % of images of people left out,"
        print(
            f'"nobody" beyond a distance of {nobody.threshold:.2f}:{shown} rejects '
            f"{100 * nobody.facts['false_reject_rate']:.1f} % of test images of the users"
        )
    print(f"trained in {result.seconds:.0f} s; classifier in {result.exported}")
