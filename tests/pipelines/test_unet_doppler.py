"""The denoiser against closed forms, torch's own attention and exact round trips."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echoform import unet_doppler
from echoform.unet_doppler import (
    CONDITIONINGS,
    DopplerAttention,
    DopplerUNet2DModel,
    LabelAttention,
    attend,
    rotate_by_position,
)

MakeUNet = Callable[..., DopplerUNet2DModel]


def inputs(unet: DopplerUNet2DModel, batch: int = 4, seed: int = 0) -> dict[str, Tensor | dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(batch, 4, 8, 8, generator=generator),
        "timestep": torch.randint(1000, (batch,), generator=generator),
        "users": torch.arange(batch) % (unet.null_user + 1),
        "conditions": {name: torch.arange(batch) % (null + 1) for name, null in unet.null_conditions.items()},
    }


@pytest.fixture(params=CONDITIONINGS)
def make_either(make_unet: MakeUNet, request: pytest.FixtureRequest) -> MakeUNet:
    """Makes denoisers of each way for users and conditions to enter."""
    return partial(make_unet, conditioning=request.param)


def bare_attention(attention_type: str, window_size: int = 4, num_heads: int = 4) -> DopplerAttention:
    """Without its group norm, which ties every token to every other by its statistics."""
    torch.manual_seed(0)
    attention = DopplerAttention(16, attention_type, num_heads, window_size, norm_num_groups=4)
    attention.norm = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return attention


def tokens_that_matter(attention: DopplerAttention, row: int, column: int, sides: tuple[int, int] = (8, 8)) -> Tensor:
    """Which tokens of a map change the output at one place, bool [H, W], by the gradient."""
    grid = torch.randn(1, 16, *sides, generator=torch.Generator().manual_seed(1)).requires_grad_()
    attention(grid)[0, :, row, column].sum().backward()
    assert grid.grad is not None
    return grid.grad[0].abs().amax(dim=0) > 0


def test_every_parameter_gets_a_gradient(make_either: MakeUNet):
    unet = make_either(num_users=3, conditions={"direction": 3})
    unet(**inputs(unet)).sample.square().mean().backward()
    assert unet.user_embedding.weight.grad is not None
    without = [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.abs().amax() > 0]
    assert without == []
    assert bool((unet.user_embedding.weight.grad.abs().amax(dim=1) > 0).all())


def test_a_saved_model_comes_back_bit_for_bit(make_either: MakeUNet, tmp_path: Path):
    # Not in alphabetical order and of unlike sizes: a config comes back sorted.
    unet = make_either(conditions={"type": 5, "direction": 2, "a.b": 3})
    unet.save_pretrained(tmp_path)
    loaded = DopplerUNet2DModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in unet.state_dict().items())
    assert torch.equal(unet(**inputs(unet)).sample, loaded(**inputs(unet)).sample)


def test_a_token_in_another_window_does_not_matter():
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[4:8, 0:4] = True
    assert torch.equal(tokens_that_matter(bare_attention("window"), row=5, column=1), expected)


def test_a_far_token_matters_along_the_axes_and_only_there():
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[5, :] = expected[:, 1] = True
    assert torch.equal(tokens_that_matter(bare_attention("axial"), row=5, column=1), expected)


def test_on_a_map_that_is_not_square_windows_and_axes_are_those_of_the_token():
    window = torch.zeros(4, 12, dtype=torch.bool)
    window[0:4, 8:12] = True
    assert torch.equal(tokens_that_matter(bare_attention("window"), row=2, column=9, sides=(4, 12)), window)
    # A map lower than the window: windows divide the width alone.
    low = torch.zeros(2, 12, dtype=torch.bool)
    low[:, 8:12] = True
    assert torch.equal(tokens_that_matter(bare_attention("window"), row=1, column=9, sides=(2, 12)), low)
    axes = torch.zeros(4, 12, dtype=torch.bool)
    axes[2, :] = axes[:, 9] = True
    assert torch.equal(tokens_that_matter(bare_attention("axial"), row=2, column=9, sides=(4, 12)), axes)


@pytest.mark.parametrize("kind", ["window", "axial"])
def test_exchanging_frequency_and_time_is_not_the_same_as_exchanging_them_in_the_output(kind: str):
    # Positions along the two axes have features of their own, and half of the axial heads look along each.
    grid = torch.randn(1, 16, 4, 8, generator=torch.Generator().manual_seed(1))
    attention = bare_attention(kind)
    there, back = attention(grid), attention(grid.transpose(2, 3)).transpose(2, 3)
    assert there.shape == grid.shape and not torch.allclose(there, back, atol=1e-4)


def test_a_model_with_height_and_width_comes_back_with_both(make_either: MakeUNet, tmp_path: Path):
    unet = make_either(sample_size=(4, 12))
    unet.save_pretrained(tmp_path)
    loaded = DopplerUNet2DModel.from_pretrained(tmp_path)
    assert tuple(loaded.config["sample_size"]) == (4, 12)
    sample = torch.randn(2, unet.config["in_channels"], 4, 12)
    timestep = torch.tensor([10.0, 900.0])
    made = unet(sample, timestep).sample
    assert made.shape == (2, unet.config["out_channels"], 4, 12)
    assert torch.equal(made, loaded(sample, timestep).sample)


def test_a_map_smaller_than_the_window_is_one_window():
    assert tokens_that_matter(bare_attention("window", window_size=16), row=5, column=1).all()


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_the_number_of_heads_is_what_was_asked_for(num_heads: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unet_doppler, "rotate_by_position", lambda features: features)
    attention = bare_attention("window", window_size=8, num_heads=num_heads)
    reference = nn.MultiheadAttention(16, num_heads, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": attention.to_qkv.weight,
            "in_proj_bias": attention.to_qkv.bias,
            "out_proj.weight": attention.to_out.weight,
            "out_proj.bias": attention.to_out.bias,
        }
    )
    grid = torch.randn(2, 16, 8, 8)
    tokens = grid.flatten(2).transpose(1, 2)
    expected = grid + reference(tokens, tokens, tokens)[0].transpose(1, 2).unflatten(2, (8, 8))
    torch.testing.assert_close(attention(grid), expected)


def test_each_axis_has_half_of_the_heads(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(unet_doppler, "attend", lambda qkv: seen.append(tuple(qkv.shape)) or qkv[:, :, 0])
    bare_attention("axial", num_heads=4)(torch.randn(2, 16, 8, 6))
    assert seen == [(2 * 8, 6, 3, 2, 4), (2 * 6, 8, 3, 2, 4)]


def test_attention_on_the_cpu_is_torch_attention():
    qkv = torch.randn(5, 7, 3, 2, 8)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(attend(qkv), F.scaled_dot_product_attention(query, key, value).transpose(1, 2))


def test_attention_to_labels_is_torch_attention_to_their_tokens():
    torch.manual_seed(0)
    attention = LabelAttention(16, token_channels=12, num_heads=4, norm_num_groups=4)
    attention.norm = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    reference = nn.MultiheadAttention(16, 4, batch_first=True, kdim=12, vdim=12)
    key, value = attention.to_key_value.weight.chunk(2)
    reference.load_state_dict(
        {
            "q_proj_weight": attention.to_query.weight,
            "k_proj_weight": key,
            "v_proj_weight": value,
            "in_proj_bias": torch.cat([attention.to_query.bias, torch.zeros(32)]),
            "out_proj.weight": attention.to_out.weight,
            "out_proj.bias": attention.to_out.bias,
        }
    )
    grid, labels = torch.randn(2, 16, 6, 8), torch.randn(2, 5, 12)
    tokens = grid.flatten(2).transpose(1, 2)
    expected = grid + reference(tokens, labels, labels)[0].transpose(1, 2).unflatten(2, (6, 8))
    torch.testing.assert_close(attention(grid, labels), expected)


def test_places_of_the_map_look_at_different_tokens_of_one_user():
    # Attention to a single token would add the same everywhere, and its queries and keys would learn nothing.
    torch.manual_seed(0)
    attention = LabelAttention(16, token_channels=12, num_heads=4, norm_num_groups=4)
    grid, labels = torch.randn(1, 16, 6, 8), torch.randn(1, 4, 12)
    several, one = (attention(grid, tokens) - grid for tokens in (labels, labels[:, :1]))
    assert several.std(dim=(2, 3)).mean() > 0.05 * several.abs().mean()
    torch.testing.assert_close(one, one[..., :1, :1].expand_as(one))


def test_with_cross_attention_users_enter_by_attention_alone(make_unet: MakeUNet):
    unet = make_unet(conditioning="cross-attention", label_tokens=3)
    assert unet.user_embedding.weight.shape == (4, 3 * 4 * 16)
    for module in unet.modules():
        if isinstance(module, LabelAttention):
            nn.init.zeros_(module.to_out.weight)
    known = inputs(unet)
    users = known.pop("users")
    assert isinstance(users, Tensor)
    assert torch.equal(unet(**known, users=users).sample, unet(**known, users=users.flip(0)).sample)


def test_a_denoiser_saved_before_there_was_a_choice_adds_embeddings(make_unet: MakeUNet, tmp_path: Path):
    unet = make_unet()
    unet.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["conditioning"], config["label_tokens"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = DopplerUNet2DModel.from_pretrained(tmp_path)
    assert torch.equal(unet(**inputs(unet)).sample, loaded(**inputs(unet)).sample)


def test_rotated_dot_products_depend_on_distance_alone():
    query, key = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    queries = rotate_by_position(query.expand(1, 6, 7, 12))[0]
    keys = rotate_by_position(key.expand(1, 6, 7, 12))[0]
    assert torch.allclose(queries.norm(dim=-1), query.norm())
    torch.testing.assert_close(queries[1, 2] @ keys[3, 5], queries[2, 1] @ keys[4, 4], rtol=1e-4, atol=1e-5)
    assert not torch.isclose(queries[1, 2] @ keys[3, 5], queries[1, 2] @ keys[3, 4])
    assert not torch.isclose(queries[1, 2] @ keys[3, 5], queries[1, 2] @ keys[2, 5])


def test_no_user_is_a_class_of_its_own(make_either: MakeUNet):
    unet = make_either()
    one = {name: value for name, value in inputs(unet, batch=1).items() if name in ("sample", "timestep")}
    nobody = unet(**one).sample
    assert unet.user_embedding.num_embeddings == 3 + 1
    assert torch.equal(nobody, unet(**one, users=torch.tensor([unet.null_user])).sample)
    for user in range(3):
        assert not torch.allclose(nobody, unet(**one, users=torch.tensor([user])).sample)
    unet(**one).sample.sum().backward()
    assert unet.user_embedding.weight.grad is not None
    touched = unet.user_embedding.weight.grad.abs().amax(dim=1) > 0
    assert touched.tolist() == [False, False, False, True]


def test_a_condition_left_out_is_null(make_either: MakeUNet):
    unet = make_either()
    known = inputs(unet)
    conditions = known.pop("conditions")
    assert isinstance(conditions, dict)
    null = torch.full((4,), unet.null_conditions["direction"])
    left_out = unet(**known, conditions={"condition": conditions["condition"]}).sample
    assert torch.equal(left_out, unet(**known, conditions=conditions | {"direction": null}).sample)
    assert not torch.allclose(left_out, unet(**known, conditions=conditions | {"direction": null - 1}).sample)


def test_embeddings_of_users_stand_for_the_users(make_either: MakeUNet):
    unet = make_either()
    known = inputs(unet)
    users = known.pop("users")
    assert isinstance(users, Tensor)
    by_embedding = unet(**known, user_embeds=unet.embed_users(users)).sample
    assert torch.equal(by_embedding, unet(**known, users=users).sample)


def test_an_image_does_not_depend_on_its_batch(make_either: MakeUNet):
    unet = make_either()
    together = inputs(unet)
    conditions = together.pop("conditions")
    assert isinstance(conditions, dict)
    alone = {name: value[2:3] for name, value in together.items()}  # pyright: ignore[reportArgumentType]
    alone_conditions = {name: value[2:3] for name, value in conditions.items()}
    torch.testing.assert_close(
        unet(**alone, conditions=alone_conditions).sample, unet(**together, conditions=conditions).sample[2:3]
    )


def test_checkpointed_gradients_are_the_gradients(make_either: MakeUNet):
    gradients = []
    for checkpointed in (False, True):
        unet = make_either().train()
        if checkpointed:
            unet.enable_gradient_checkpointing()
        unet(**inputs(unet)).sample.square().mean().backward()
        gradients.append([p.grad for p in unet.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_bfloat16_and_channels_last_change_little(make_unet: MakeUNet):
    unet = make_unet()
    expected = unet(**inputs(unet)).sample
    unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(unet(**inputs(unet)).sample, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert F.mse_loss(unet(**inputs(unet)).sample.float(), expected) < 1e-3 * expected.var()


def test_oblong_latents_and_other_sizes_pass_through(make_unet: MakeUNet):
    unet = make_unet(sample_size=(8, 16))
    assert unet(torch.randn(1, 4, 8, 16), 0.5).sample.shape == (1, 4, 8, 16)
    assert unet(torch.randn(1, 4, 12, 4), 0.5).sample.shape == (1, 4, 12, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_size": 10}, "window_size must divide the 10x10 map of level 0, got 4"),
        ({"sample_size": 9}, "divisible by 2, got 9x9"),
        ({"attention_types": ("window",)}, "one type for each of the 2 levels"),
        ({"attention_types": ("window", "full")}, "must be among .*, got 'full'"),
        ({"block_out_channels": (16, 30)}, r"divisible by norm_num_groups \(4\), got 30"),
        ({"num_attention_heads": 8}, r"divisible by 4 \* num_attention_heads \(32\), got 16"),
        ({"num_attention_heads": 1}, "must be even, got 1"),
        ({"num_users": 0}, "num_users must be a whole number in 1..100000, got 0"),
        ({"conditioning": "film"}, "must be among .*, got 'film'"),
        (
            {"conditioning": "cross-attention", "attention_types": ("none", "none")},
            "needs a level that attends, got attention_types",
        ),
        ({"conditioning": "cross-attention", "label_tokens": 1}, "label_tokens must be at least 2, got 1"),
        ({"conditions": {"direction": 0}}, "direction must be a whole number in 1..1000, got 0"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(make_unet: MakeUNet, settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_unet(**settings)


def test_inputs_that_do_not_fit_are_refused(make_unet: MakeUNet):
    unet = make_unet()
    sample, users = torch.zeros(1, 4, 8, 8), torch.tensor([0])
    with pytest.raises(ValueError, match="window_size must divide the 10x10 map"):
        unet(torch.zeros(1, 4, 10, 10), 0)
    with pytest.raises(ValueError, match="exclude each other"):
        unet(sample, 0, users=users, user_embeds=unet.embed_users(users))
    with pytest.raises(ValueError, match=r"must be among \['condition', 'direction'\], got \['shoes'\]"):
        unet(sample, 0, conditions={"shoes": users})


@pytest.mark.slow
def test_it_compiles_without_graph_breaks(make_unet: MakeUNet):
    unet = make_unet()
    expected = unet(**inputs(unet)).sample
    compiled = torch.compile(unet, fullgraph=True)
    torch.testing.assert_close(compiled(**inputs(unet)).sample, expected, rtol=1e-4, atol=1e-5)
