"""Every setting is either compared at a resume, or told, or known not to change a number: none is forgotten."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import pytest
import torch

from echoform_train.engine.content import content_hash
from echoform_train.engine.resume import FREE, TOLD, compare_settings, find_checkpoints, resume_settings
from training_settings import TRAINERS, all_fields

OF_EVERY_RUN = {
    "seed",
    "max_train_images",  # told where the learning rate does not depend on it
    "train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "optimizer",
    "lr_scheduler",
    "lr_warmup_steps",
    "lr_decay",
    "lr_step_every",
    "lr_plateau_patience",
    "adam_weight_decay",
    "max_grad_norm",
    "mixed_precision",
    "gradient_checkpointing",
    "validation_every",
    "preset",  # stands on the card
}
_SHARES = {"validation_share", "test_share", "gap_images"}
_LOSSES = {"l1_weight", "l2_weight", "spectral_weight", "spectral_max_share", "lpips_weight", "adversarial_weight"}
_FIRST_STAGE = _LOSSES | {
    "colormap",
    "hop_s",
    "name_pattern",
    "window_s",
    "gap_windows",
    "block_out_channels",
    "n_layers",
    "layers_per_block",
    "latent_channels",
    "mid_block_attention",
}
COMPARED = {
    "vq_vae": _FIRST_STAGE
    | {"vq_embed_dim", "num_vq_embeddings", "quantize", "quantize_after", "codebook_decay", "commitment_weight"},
    "kl_vae": _FIRST_STAGE | {"kl_weight", "ema_decay"},
    "ldm": {
        "block_size",
        "whitening",
        "colormap",
        "hop_s",
        "name_pattern",
        "window_s",
        "gap_windows",
        "block_out_channels",
        "attention_types",
        "layers_per_block",
        "num_attention_heads",
        "window_size",
        "dropout",
        "conditioning",
        "objective",
        "beta_schedule",
        "snr_gamma",
        "label_dropout",
        "ema_decay",
        "user_rate_factor",
    },
    "distill": {"steps", "teacher_steps", "guidance_scale", "ema_decay"},
    "depth_ae": _SHARES
    | {
        "folders",
        "rooms",
        "cameras_per_room",
        "images_per_camera",
        "depth_min_mm",
        "depth_max_mm",
        "units_per_mm",
        "invalid_values",
        "sensor",
        "float_unit",
        "resize_rule",
        "mat_variable",
        "image_column",
        "bottleneck",
        "size",
        "latent_dim",
        "block_out_channels",
        "layers_per_block",
        "attention",
        "num_attention_heads",
        "dropout",
        "balance_power",
        "huber_weight",
        "huber_delta",
        "gradient_weight",
        "validity_weight",
        "lpips_weight",
        "latent_weight",
        "covariance_weight",
        "contrastive_weight",
        "contrastive_temperature",
        "augment",
        "augment_flip",
        "augment_tilt_deg",
        "augment_zoom",
        "augment_shift",
        "augment_depth",
        "latent_noise",
        "ema_decay",
    },
    "conv_ae": _SHARES
    | {
        "color",
        "backbone",
        "width_factor",
        "levels",
        "batch_norm",
        "torchvision_weights",
        "upsampling",
        "output_activation",
        "data_range",
        "latent_channels",
        "loss",
        "kl_weight",
    },
}
OF_ONE_TRAINER = {"ldm": {"guidance_scale"}}
"""Settings that are compared in another trainer; here they are those of sample sheets."""

names = pytest.mark.parametrize("module", TRAINERS, ids=lambda module: module.__name__.rpartition(".")[2])


@names
def test_every_setting_stands_in_exactly_one_of_the_lists(module):
    short = module.__name__.rpartition(".")[2]
    compared, sheets = OF_EVERY_RUN | COMPARED[short], OF_ONE_TRAINER.get(short, set())
    for _, name, _, _ in all_fields(module.Config, None):
        lists = [name in compared, name in TOLD, name in FREE, name in sheets]
        assert sum(lists) == 1, f"{name} stands in {sum(lists)} of the lists: can it change a number?"


@names
def test_exactly_the_settings_that_can_change_a_number_are_compared(module):
    short = module.__name__.rpartition(".")[2]
    config = next(iter(module.PRESETS.values()))
    flags = resume_settings(config, free=OF_ONE_TRAINER.get(short, ()))
    expected = OF_EVERY_RUN | COMPARED[short] | (TOLD & {name for _, name, _, _ in all_fields(module.Config, None)})
    assert set(flags) == {f"--{name.replace('_', '-')}" for name in expected}


def test_no_list_holds_a_setting_that_no_trainer_has():
    known = {name for module in TRAINERS for _, name, _, _ in all_fields(module.Config, None)}
    assert FREE | TOLD | OF_EVERY_RUN | set().union(*COMPARED.values()) <= known


def other_value(hint: Any, value: Any) -> Any:
    """Another value of the kind of a setting."""
    kind = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    if get_origin(kind) is Literal:
        return next(one for one in get_args(kind) if one != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "other" if value is None or isinstance(value, str) else (*value, *value)


@names
def test_a_change_of_any_setting_is_refused_or_told_as_the_lists_say(module):
    short = module.__name__.rpartition(".")[2]
    config, sheets = next(iter(module.PRESETS.values())), OF_ONE_TRAINER.get(short, set())
    earlier = resume_settings(config, free=sheets)
    for _, name, hint, value in all_fields(module.Config, config):
        if name in FREE | sheets:
            continue
        flag = f"--{name.replace('_', '-')}"
        now = earlier | {flag: other_value(hint, value)}
        if name in TOLD:
            assert compare_settings(earlier, now, "folder").startswith(f"{flag} was ")
        else:
            with pytest.raises(ValueError, match=f"a run resumes with the settings and data .*: {flag} was "):
                compare_settings(earlier, now, "folder")


@pytest.mark.parametrize("schedule", ["constant", "step", "plateau"])
def test_a_run_may_become_longer_where_its_rate_does_not_depend_on_the_length(schedule):
    earlier = {"--lr-scheduler": schedule, "--max-train-images": 100, "--lr-warmup-steps": 5}
    assert compare_settings(earlier, earlier | {"--max-train-images": 200}, "folder") == (
        "--max-train-images was 100, is now 200"
    )
    with pytest.raises(ValueError, match="--lr-warmup-steps was 5, is now 9"):
        compare_settings(earlier, earlier | {"--lr-warmup-steps": 9}, "folder")


def test_settings_of_another_version_are_refused_in_one_sentence():
    now = {"--lr-scheduler": "cosine", "--new": 1}
    for earlier in (None, [], {"--lr-scheduler": "cosine"}, now | {"--old": 1}):
        with pytest.raises(ValueError, match="folder was written by another version of echoform"):
            compare_settings(earlier, now, "folder")


def test_the_hash_of_content_sees_every_bit_and_no_path():
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    changed = image.clone()
    changed[0, 0] = 1
    base = {"pixels": image, "labels": {0: "ann", 1: "bob"}}
    others = [
        base | {"pixels": changed},
        base | {"pixels": image.reshape(4, 3)},
        base | {"pixels": image.to(torch.int16)},
        base | {"labels": {0: "ann", 1: "bo"}},
        base | {"labels": {0: "bob", 1: "ann"}},
        base | {"labels": ["ann", "bob"]},
        base | {"more": None},
    ]
    assert len({content_hash(each) for each in [base, *others]}) == len(others) + 1
    assert content_hash({"labels": {1: "bob", 0: "ann"}, "pixels": image.clone()}) == content_hash(base)


def test_processes_that_torchrun_restarts_go_on_from_their_own_launch_alone(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints" / "images-000000008"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"launch": "this"}')
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "this")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    with pytest.raises(ValueError, match="holds a run of images-000000008; continue it with --resume-from-checkpoint"):
        find_checkpoints(tmp_path, None)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert find_checkpoints(tmp_path, None) == [folder]
    assert find_checkpoints(tmp_path, str(tmp_path / "older")) == [folder]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    with pytest.raises(ValueError, match="holds a run of images-000000008"):
        find_checkpoints(tmp_path, None)
    assert find_checkpoints(tmp_path, "latest") == [folder]
