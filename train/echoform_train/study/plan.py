"""What an augmentation study will do, decided and checked before anything trains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from echoform_train.data.config import data_facts
from echoform_train.data.hub import published_split
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.files import FACTS
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.set_scores import NEIGHBOURS
from echoform_train.study.accuracy.comparisons import name_of_size
from echoform_train.study.accuracy.measurement import across
from echoform_train.study.generators.training import GeneratorConfig
from echoform_train.study.images.subsets import choose

ALL = "all"
LEAST_IMAGES = 2
"""A generator and classifiers need that many real images of each user."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What is measured, and how thoroughly."""

    sizes: tuple[str, ...] = ("5", "10", "20", "50", ALL)
    """Numbers of real images a user to measure at; all is every training image."""
    seeds: int = 5
    """Classifiers of each family, arm and size, whose spread makes the intervals."""
    draws: int = 1
    """Sets of images chosen at each size, each with a generator of its own: 1, or as many as seeds, which makes the
    intervals cover the choice of the images and the training of the generator too, at so many times the cost."""
    across: tuple[str, ...] = ()
    """Tests on another condition than was trained on, as condition:normal:backpack (column, trained, tested); each
    takes a generator of its own."""
    classifier_train_images: int = 8_000
    """Images that a classifier sees in training, whatever the arm."""
    extra_share: float = 0.5
    """Share of generated images in a batch of the arms that have some."""
    keep_share: float = 0.7
    """Share of the drawn images that are kept, those that a classifier of the same real images recognises best."""
    max_duplicate: float = 0.99
    """Largest likeness (correlation, over all rolls in time) to a training image or to an image kept before; windows of
    one recording that overlap by two thirds reach 0.9 to 0.99, windows of two recordings of a person 0.96."""
    only_walks: bool = True
    """Keep only images that a walker can have made, by what the same real images tell of walking."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed trains judges that score the generator of the largest size."""
    judge_train_images: int = 12_000
    """Images that a judge sees in training."""

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise ValueError(f"--seeds must be at least 2, without which there is no interval, got {self.seeds}")
        if self.draws not in (1, self.seeds):
            raise ValueError(f"--draws must be 1 or as many as --seeds ({self.seeds}), got {self.draws}")
        if wrong := [text for text in self.across if text.count(":") != 2]:
            raise ValueError(f"--across must read column:trained:tested, got {', '.join(wrong)}")
        if not 0 < self.keep_share <= 1:
            raise ValueError(f"--keep-share must be above 0 and at most 1, got {self.keep_share}")
        parse_sizes(self.sizes)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some real images, the generator that sees them and no others, and what is measured with both."""

    name: str
    """Of its stages, such as "10", "10-draw-1" or "all-normal-backpack"."""
    n: int | None
    """Images a user that were asked for; None for all."""
    draw: int
    data: SpectrogramData
    places: Tensor
    """int64 [M] of the images of `data.train` chosen."""
    condition: str | None = None
    """Words for a test on another condition than was trained on."""

    @property
    def images(self) -> Spectrograms:
        """The real images that may be seen."""
        return self.data.train.select(self.places)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study is about, and how it is done."""

    data: SpectrogramData
    tasks: Sequence[Task]
    config: StudyConfig
    generator: GeneratorConfig
    pipeline: Path | None
    """Given, instead of a generator a task."""
    images_a_user: dict[int, int]
    """Generated images of each user to keep, by user."""
    add: dict[int, int]
    """Of those, the ones for the data set."""
    window_s: float | None
    """Seconds in one image, for re-cropping; None where it is unknown."""
    device: str
    workers: int
    """Processes that make stages side by side."""
    seed: int

    @property
    def sizes(self) -> list[int | None]:
        """Images a user at which it is measured, small ones first."""
        return list(dict.fromkeys(task.n for task in self.tasks if task.condition is None))

    @property
    def measured_together(self) -> list[list[Task]]:
        """Tasks whose classifiers make one table: the draws of each size, and then each other condition."""
        by_size = [[task for task in self.tasks if task.n == n and task.condition is None] for n in self.sizes]
        return by_size + [[task] for task in self.tasks if task.condition is not None]

    @property
    def largest(self) -> Task:
        """Whose generator is judged, and fills the data set."""
        return next(task for task in self.tasks if task.n == self.sizes[-1] and task.draw == 0)

    def has_generator(self, task: Task) -> bool:
        """Whether a generator saw the images of a task and no others."""
        return self.pipeline is None or task is self.largest

    @property
    def is_pretrained(self) -> bool:
        """Whether generators start from one of simulated walkers."""
        return self.pipeline is None and self.generator.pretrain_people > 0

    def total_stages(self) -> int:
        """How many there will be."""
        generated = sum(map(self.has_generator, self.tasks))
        of_each = 1 if self.pipeline else 2
        return self.is_pretrained + generated * of_each + 2 * len(self.measured_together) + 4


def parse_sizes(sizes: Sequence[str]) -> list[int | None]:
    """Numbers of images a user in ascending order, None (all) last; each once.

    Raises:
        ValueError: If one is neither a whole number of at least 2 nor "all", or there are none.
    """
    numbers: set[int] = set()
    for size in sizes:
        if size != ALL and not (size.isdecimal() and int(size) >= LEAST_IMAGES):
            raise ValueError(f"--sizes must be whole numbers of at least {LEAST_IMAGES}, or all, got {size!r}")
        numbers |= {int(size)} if size != ALL else set()
    if not sizes:
        raise ValueError("--sizes must name at least one size, got none")
    return [*sorted(numbers), *([None] if ALL in sizes else [])]


def plan_tasks(data: SpectrogramData, config: StudyConfig, seed: int) -> tuple[list[Task], list[str]]:
    """What to train generators for, small sizes first and tests on another condition last, and what is left out.

    A size that nobody has more images than is the same as all, and is left out.

    Args:
        data: Its training part is chosen from.
        config: Sizes, draws and conditions.
        seed: Of the choice.

    Returns:
        The tasks, and a sentence on each size that is left out.

    Raises:
        ValueError: If a user has too few training images, no size is left, or a condition is unknown.
    """
    counts = torch.bincount(data.train.users, minlength=len(data.id2label))
    fewest = int(counts.argmin())
    if int(counts[fewest]) < LEAST_IMAGES:
        raise ValueError(
            f"a study needs at least {LEAST_IMAGES} training images of each user, "
            f"{data.id2label[fewest]} has {int(counts[fewest])}"
        )
    most = int(counts.max())
    asked = parse_sizes(config.sizes)
    sizes = [n for n in asked if n is None or n < most]
    notes = [
        f"{n} real images of each person were asked for, but nobody has more than {most} for training: this size is "
        "left out."
        for n in asked
        if n not in sizes
    ]
    if not sizes:
        raise ValueError(
            f"--sizes must name one that some user has more images than, or all; nobody has more than {most} for "
            f"training, got {', '.join(config.sizes)}"
        )
    tasks = [
        Task(
            name=name_of_size(n) + (f"-draw-{draw}" if draw else ""),
            n=n,
            draw=draw,
            data=data,
            places=choose(data.train, n, seed=mix_seed(seed, draw)),
        )
        for n in sizes
        for draw in range(config.draws)
    ]
    for text in config.across:
        column, trained, tested = text.split(":")
        parted = across(data, column, trained, tested)
        name, places = f"all-{trained}-{tested}", choose(parted.train, None, seed=seed)
        condition = f"{trained} -> {tested}"
        tasks.append(Task(name=name, n=None, draw=0, data=parted, places=places, condition=condition))
    return tasks, notes


def images_a_user(tasks: Sequence[Task]) -> str:
    """How many images of a user these draws of one size really hold: "10", "7 to 10", or "24 (all)"."""
    counts = torch.cat([torch.bincount(task.images.users) for task in tasks])
    least, most = int(counts[counts > 0].min()), int(counts.max())
    text = str(least) if least == most else f"{least} to {most}"
    return text if tasks[0].n is not None else f"{text} (all)"


def check_held_out(data: SpectrogramData, images_a_user: Mapping[int, int]) -> None:
    """Make sure that there are images enough to judge with, before anything trains.

    Args:
        data: With its split.
        images_a_user: Generated images to draw, by user.

    Raises:
        ValueError: If the data are generated ones, a user has no image in one part, or sets to compare are too small.
    """
    if "generated" in data.condition_labels.get("origin", {}).values():
        raise ValueError(f"a study needs real images, the column origin says that {data.source} holds generated ones")
    for part in ("validation", "test"):
        counts = torch.bincount(getattr(data, part).users, minlength=len(data.id2label))
        absent = [data.id2label[user] for user in (counts == 0).nonzero().flatten().tolist()]
        if absent:
            raise ValueError(f"a study needs {part} images of each user, there are none of {', '.join(absent)}")
    comparable = count_comparable(data, images_a_user)
    if comparable <= NEIGHBOURS:
        raise ValueError(
            f"sets of more than {NEIGHBOURS} images are needed to compare generated with real ones: half of each "
            f"user's test images, and as many generated ones; they are {comparable} of all users together"
        )


def count_comparable(data: SpectrogramData, images_a_user: Mapping[int, int]) -> int:
    """Images of the smaller side where so many generated ones meet half of the test images, user by user."""
    halves = torch.bincount(data.test.users, minlength=len(data.id2label)) // 2
    return sum(min(int(halves[user]), count) for user, count in images_a_user.items())


def check_split_is_known(data: SpectrogramData, split_file: Path | None) -> None:
    """Make sure that the test part is the one that a given pipeline was not trained on.

    Args:
        data: As it was loaded.
        split_file: What the user named.

    Raises:
        ValueError: If neither a file nor the data tell the split.
    """
    if split_file is None and data.split.method != "as given" and published_split(data.source) is None:
        raise ValueError(
            "--pipeline needs --split-file, the split of its training (split.json in the output folder of its first "
            "stage): with another one, test images may have been trained on"
        )


def check_pipeline(folder: Path, data: SpectrogramData, sampling: GeneratorConfig) -> None:
    """Make sure that a given pipeline makes images of these users, of this kind, and was trained on this split.

    Raises:
        ValueError: If users or conditions are others, the facts of its training name other images, or it was distilled
            to other steps than are asked for.
    """
    index = json.loads((folder / "model_index.json").read_text())
    users = [label for _, label in sorted(index["id2label"].items(), key=lambda item: int(item[0]))]
    if users != list(data.id2label.values()):
        raise ValueError(
            f"the pipeline must be of the users of the data, {', '.join(data.id2label.values())}; it is of "
            f"{', '.join(users)}"
        )
    facts_file = folder / FACTS
    if not facts_file.is_file():
        return
    facts = json.loads(facts_file.read_text())
    if "distilled" in facts:
        asked = sampling.num_inference_steps, sampling.guidance_scale
        made_for = index["num_inference_steps"], index["guidance_scale"]
        if asked != made_for:
            raise ValueError(
                f"the pipeline was distilled to --num-inference-steps {made_for[0]} and --guidance-scale "
                f"{made_for[1]:g}, got {asked[0]} and {asked[1]:g}"
            )
    theirs, ours = facts["data"], data_facts(data)
    for name in ("resolution", "channels", "colormap", "conditions", "images"):
        if theirs.get(name) != ours[name]:
            raise ValueError(
                f"the pipeline must have been trained on these data in this split: its facts name the {name} "
                f"{theirs.get(name)}, the data have {ours[name]}"
            )
