import numpy as np
import torch

from echoform_train.depth.dataset import DepthImages
from echoform_train.depth.quality import bootstrap_groups


def images(recordings: list[str | None]) -> DepthImages:
    return DepthImages(
        units=torch.zeros(len(recordings), 1, 2, 2, dtype=torch.uint16),
        labels=None,
        files=tuple(f"{index}.png" for index, _ in enumerate(recordings)),
        recordings=tuple(recordings),
    )


def test_many_recordings_are_drawn_whole():
    groups, name = bootstrap_groups(images([f"r{index % 20}" for index in range(60)]))
    assert name == "recordings"
    assert all(len(set(groups[start::20])) == 1 for start in range(20)) and len(set(groups)) == 20


def test_few_recordings_are_cut_into_blocks_of_neighbours():
    groups, name = bootstrap_groups(images(["a"] * 25 + ["b"] * 10 + [None] * 3))
    assert name == "blocks of 10 images"
    sizes = [int((groups == group).sum()) for group in dict.fromkeys(groups.tolist())]
    assert sizes == [10, 10, 5, 10, 3]
    assert (np.diff(groups) != 0).sum() == 4  # each block is made of neighbours
