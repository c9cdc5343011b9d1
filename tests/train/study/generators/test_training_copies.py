from dataclasses import replace

import pytest
import torch

from echoform_train.data.spectrograms import Spectrograms, load_spectrograms
from echoform_train.study.generators.training_copies import is_seamless, make_copies, with_training_copies

WIDTH = 16


def windows(recording, starts, user=0):
    """Windows of 16 columns of a recording [H, L] whose columns are a second each."""
    pixels = torch.stack([recording[None, :, start : start + WIDTH] for start in starts])
    return Spectrograms(
        pixels=pixels,
        users=torch.full((len(starts),), user),
        conditions={},
        files=tuple(f"{start}.png" for start in starts),
        recordings=("walk",) * len(starts),
        starts_s=tuple(float(start) for start in starts),
    )


def wandering(height=32, length=60, seed=0):
    """A recording uint8 [H, L] of one bright line that wanders slowly from the first row to the last."""
    middle = torch.linspace(2, height - 3, length) + torch.sin(torch.arange(length) / 3)
    rows = torch.arange(height)[:, None]
    noise = 10 * torch.rand(height, length, generator=torch.Generator().manual_seed(seed))
    return (200 * torch.exp(-((rows - middle) ** 2) / 8) + noise).to(torch.uint8)


def best_start(copy, recording):
    """Where in the recording a copy was cut, as who correlates most says, and that correlation."""
    windows_at = recording.float().unfold(1, WIDTH, 1).permute(1, 0, 2).flatten(1)
    stacked = torch.cat([copy.float().flatten()[None], windows_at])
    likeness = torch.corrcoef(stacked)[0, 1:]
    return int(likeness.argmax()), float(likeness.max())


def test_copies_are_the_image_itself_and_others_of_the_same_person():
    images = windows(wandering(), (0, 40))
    copies = make_copies(images, 3, None, seed=1)
    assert torch.equal(copies.pixels[:2], images.pixels)
    assert torch.equal(copies.users, images.users.repeat(3))
    assert copies.conditions["rolled"][:2].tolist() == [0, 0]
    assert not torch.equal(copies.pixels[2:4], images.pixels)
    # Scaled and rolled, a spectrogram keeps the order of its rows by strength: nothing moves along frequency.
    rows, others = images.pixels.float().mean(-1), copies.pixels[2:4].float().mean(-1)
    assert torch.equal(rows.argmax(-1), others.argmax(-1))


def test_copies_of_overlapping_windows_are_the_recording_at_other_starts():
    recording = wandering()
    copies = make_copies(windows(recording, (0, 8, 16, 24)), 40, 16.0, seed=0)
    found = [
        best_start(copy[0], recording)
        for copy, rolled in zip(copies.pixels, copies.conditions["rolled"], strict=True)
        if not rolled
    ]
    assert all(likeness > 0.99 for _, likeness in found)
    assert {start for start, _ in found} == set(range(25))  # every start of the 40 columns that were seen, no other


def test_a_copy_that_shows_where_it_was_closed_says_so():
    """The line ends where it did not begin: a roll of it jumps."""
    recording = wandering()
    copies = make_copies(windows(recording, (0, 40)), 60, None, seed=0)
    rolled = copies.conditions["rolled"].bool()
    assert 0.3 < rolled.float().mean() < 0.7
    jump = (copies.pixels[..., 1:].float() - copies.pixels[..., :-1].float()).abs().mean((1, 2)).amax(-1)
    assert jump[~rolled].max() < jump[rolled].quantile(0.1)


def test_what_goes_on_at_its_beginning_is_rolled_and_shows_nothing():
    steps = torch.arange(60)
    middle = 16 + 8 * torch.sin(2 * torch.pi * steps / 8)
    recording = (200 * torch.exp(-((torch.arange(32)[:, None] - middle) ** 2) / 8)).to(torch.uint8)
    images = windows(recording, (0,))
    copies = make_copies(images, 30, None, seed=0)
    assert not copies.conditions["rolled"].any()
    found = [best_start(copy[0], recording) for copy in copies.pixels]
    assert len({start % 8 for start, _ in found}) == 8 and all(likeness > 0.99 for _, likeness in found)


def test_a_column_follows_another_smoothly_or_not():
    ramp = torch.linspace(-1, 1, WIDTH).expand(1, 4, WIDTH)
    there_and_back = torch.cat([ramp[..., ::2], ramp[..., ::2].flip(-1)], dim=-1)
    assert is_seamless(torch.stack([ramp, there_and_back, torch.zeros(1, 4, WIDTH)])).tolist() == [False, True, True]


def test_the_images_to_validate_on_are_none_of_the_copies_and_not_rolled(walkers, first_stage):
    data = load_spectrograms(str(walkers), split_file=first_stage / "split.json")
    few = data.train.select(range(4))
    material = with_training_copies(data, few, 3, None, validation=data.validation, seed=0)
    assert torch.equal(material.validation.pixels, data.validation.pixels)
    assert not material.validation.conditions["rolled"].any()
    assert material.condition_labels["rolled"] == {0: "no", 1: "yes"}
    assert len(material.train) == 12 and set(material.train.conditions) == {*few.conditions, "rolled"}


def test_data_with_a_condition_of_that_name_are_refused(walkers, first_stage):
    data = load_spectrograms(str(walkers), split_file=first_stage / "split.json")
    data = replace(data, condition_labels=data.condition_labels | {"rolled": {0: "a"}})
    with pytest.raises(ValueError, match="a condition must not be called rolled"):
        with_training_copies(data, data.train, 2, None, validation=data.validation, seed=0)
