"""The semantic encoder against the pipeline, its own files, and what a trainable part of a network must do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echoform import DepthAutoencoder, SemanticEncoder, create_semantic_encoder
from echoform.semantic_encoder import LAYERS
from hub_server import Hub
from tiny_depth import tiny_autoencoder, tiny_depth_pipeline

FACTS: dict[str, Any] = {
    "depth_range_mm": {"min": 300.0, "max": 5000.0},
    "units_per_mm": 2.0,
    "invalid_values": {"0": "no reading", "65535": "too far"},
}


def trained(**settings: Any) -> DepthAutoencoder:
    """Stands for one that was trained: its weights are like no other's, and it knows its sensor."""
    autoencoder = tiny_autoencoder(**settings)
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    autoencoder.encoder.register_to_config(**FACTS)
    return autoencoder


def loaded(tmp_path: Path, **settings: Any) -> SemanticEncoder:
    trained(**settings).encoder.save_pretrained(tmp_path / "encoder")
    return create_semantic_encoder(tmp_path / "encoder")


def same(found: Tensor, expected: Tensor) -> None:
    """The same weights elsewhere in memory may be summed in another order."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def images(batch: int = 3, side: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(batch, 1, side, side, generator=generator) - 1, torch.ones(batch, 1, side, side)


def units(count: int = 3, height: int = 50, width: int = 40) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 12000, (count, height, width)).astype(np.uint16)
    pixels[:, :5] = 65535
    return pixels


def test_every_source_gives_the_same_encoder(tmp_path: Path, hub: Hub):
    autoencoder = trained()
    pipe = tiny_depth_pipeline(autoencoder, **FACTS)
    pipe.save_pretrained(tmp_path / "pipeline")
    autoencoder.save_pretrained(tmp_path / "whole")
    autoencoder.encoder.save_pretrained(tmp_path / "encoder")
    create_semantic_encoder(tmp_path / "encoder").save_encoder_weights(tmp_path / "alone" / "weights.safetensors")
    repo_id = hub.repo_id("encoder")
    autoencoder.encoder.push_to_hub(repo_id)
    depth, valid = images()
    expected = autoencoder.encode(depth, valid)
    sources = [
        tmp_path / "pipeline",
        tmp_path / "whole",
        tmp_path / "encoder",
        tmp_path / "whole/diffusion_pytorch_model.safetensors",
        tmp_path / "encoder/diffusion_pytorch_model.safetensors",
        tmp_path / "alone/weights.safetensors",
        repo_id,
    ]
    for source in sources:
        encoder = SemanticEncoder(latent_dim=16, pretrained_path=source)
        same(encoder.encode(depth, valid), expected)
        if "whole" not in str(source):  # an autoencoder alone knows no sensor
            assert encoder.get_model_info()["depth_range_mm"] == FACTS["depth_range_mm"]


def test_a_legacy_file_of_tensors_is_read_and_code_in_one_is_not_run(tmp_path: Path):
    source = SemanticEncoder(latent_dim=64)
    tensors = {f"module.encoder.{name}": value for name, value in source.encoder.state_dict().items()}
    torch.save({"epoch": 3, "model_state_dict": tensors | {"module.decoder.x": torch.zeros(1)}}, tmp_path / "old.pth")
    encoder = SemanticEncoder(latent_dim=64, pretrained_path=tmp_path / "old.pth")
    depth = torch.rand(2, 1, 128, 128)
    same(encoder.encode(depth), source.encode(depth))
    torch.save(io.StringIO("an object"), tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"code.pth must hold nothing but tensors"):
        SemanticEncoder(latent_dim=64, pretrained_path=tmp_path / "code.pth")
    torch.save({"stem.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth must hold the tensors of a depth encoder, it differs in \d+"):
        encoder.load_pretrained_weights(tmp_path / "other.pth")


@pytest.mark.parametrize("normalize", [True, False])
def test_arrays_of_every_shape_are_embedded_as_the_pipeline_does(normalize: bool, tmp_path: Path):
    autoencoder = trained()
    autoencoder.encoder.save_pretrained(tmp_path / "encoder")
    encoder = create_semantic_encoder(tmp_path / "encoder")
    if normalize:
        x = units()
        expected = tiny_depth_pipeline(autoencoder, **FACTS).encode(x).numpy()
    else:
        depth, valid = images()
        valid[:, :, :4] = 0
        x = torch.where(valid > 0, depth, torch.nan)[:, 0].numpy()
        expected = autoencoder.encode(depth, valid).detach().numpy()
    for form in (x, x[:, None]):
        found = encoder.encode_numpy(form, batch_size=2, normalize=normalize)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_numpy(x[0], normalize=normalize), expected[:1], rtol=1e-4, atol=1e-5)


def test_floating_point_units_with_nan_are_the_units_with_0(tmp_path: Path):
    encoder = loaded(tmp_path)
    x = units()
    as_float = np.where(x == 0, np.nan, x.astype(np.float64) + 0.02)  # within the hundredth that rounding may take
    assert np.array_equal(encoder.encode_numpy(as_float), encoder.encode_numpy(x))


def test_one_image_has_one_embedding_in_training_too_and_gradients_flow(tmp_path: Path):
    encoder = loaded(tmp_path, dropout=0.5).train()
    depth, valid = images()
    first = encoder.encode(depth, valid)
    assert torch.equal(encoder.encode(depth, valid), first)
    assert encoder.training and encoder.encoder.layer1.training, "encode left another mode behind"
    assert not torch.equal(encoder(depth, valid), encoder(depth, valid)), "dropout is off in training"
    torch.testing.assert_close(encoder.encode_batch(list(depth), list(valid), batch_size=1), first)
    torch.testing.assert_close(encoder.encode(depth[1], valid[1]), first[1:2])
    first.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    assert not encoder.encode_batch(depth).requires_grad


def test_frozen_layers_stay_as_they_are_through_training(tmp_path: Path):
    encoder = loaded(tmp_path, dropout=0.5)
    encoder.freeze_layers(["stem", "layer2"])
    network = nn.Sequential(encoder, nn.Linear(16, 2)).train()
    assert not encoder.encoder.layer2.training and encoder.encoder.layer1.training
    before = {name: value.clone() for name, value in encoder.encoder.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    network(images()[0]).square().sum().backward()
    optimizer.step()
    changed = {
        name.partition(".")[0] for name, value in encoder.encoder.state_dict().items() if not value.equal(before[name])
    }
    assert changed == {"layer1", "layer3", "layer4", "up", "norm_out", "head"}
    assert encoder.get_model_info()["frozen_layers"] == ["stem", "layer2"]
    encoder.load_pretrained_weights(tmp_path / "encoder")
    assert not any(p.requires_grad for p in encoder.encoder.stem.parameters()), "loading thawed a layer"
    network.train()
    assert not encoder.encoder.layer2.training


def test_frozen_weights_count_as_such(tmp_path: Path):
    encoder = loaded(tmp_path)
    total = sum(p.numel() for p in trained().encoder.parameters())
    assert encoder.count_parameters() == encoder.count_parameters(only_trainable=True) == total
    encoder.freeze_layers(["head"])
    head = sum(p.numel() for name in ("norm_out", "head") for p in encoder.encoder.get_submodule(name).parameters())
    assert encoder.count_parameters(only_trainable=True) == total - head
    frozen = create_semantic_encoder(tmp_path / "encoder", freeze_weights=True)
    assert frozen.count_parameters() == total and frozen.count_parameters(only_trainable=True) == 0
    assert frozen.get_model_info()["frozen_layers"] == list(LAYERS)


def test_layers_together_are_the_whole_encoder():
    parts = {name.partition(".")[0] for name, _ in trained().encoder.named_parameters()}
    assert parts == {module for modules in LAYERS.values() for module in modules}


def test_a_fresh_encoder_is_of_the_sizes_asked_for():
    encoder = SemanticEncoder(input_channels=3, latent_dim=128, device="cpu")
    assert encoder.encode(torch.rand(2, 3, 128, 128)).shape == (2, 128)
    info = encoder.get_model_info()
    assert (info["input_channels"], info["latent_dim"], info["depth_range_mm"]) == (3, 128, None)
    assert create_semantic_encoder(latent_dim=64).get_model_info()["latent_dim"] == 64


def test_what_does_not_fit_is_refused(tmp_path: Path, hub: Hub):
    encoder = loaded(tmp_path)
    depth, _ = images()
    with pytest.raises(ValueError, match=r"among stem, layer1, layer2, layer3, layer4, head, got layer9"):
        encoder.freeze_layers(["layer9"])
    with pytest.raises(ValueError, match="must be a list"):
        encoder.freeze_layers("stem")
    with pytest.raises(ValueError, match=r"depth must be \[B, 1, 32, 32\], got \[3, 3, 32, 32\]"):
        encoder.encode(depth.expand(-1, 3, -1, -1))
    with pytest.raises(ValueError, match=r"got torch.int32"):
        encoder.encode_batch(torch.zeros(2, 1, 32, 32, dtype=torch.int32))
    with pytest.raises(ValueError, match="at least 16 bits to be in the sensor's units, got uint8"):
        encoder.encode_numpy(np.zeros((32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"floating point in \[-1, 1\] unless it is normalized here, got uint16"):
        encoder.encode_numpy(units(), normalize=False)
    with pytest.raises(ValueError, match=r"x must be \[H, W\], \[N, H, W\] or \[N, 1, H, W\], got \[2, 3, 8, 8\]"):
        encoder.encode_numpy(np.zeros((2, 3, 8, 8), np.uint16))
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        encoder.encode_numpy(np.full((32, 32), -1, np.int16))
    with pytest.raises(ValueError, match="at least one image"):
        encoder.encode_numpy(np.zeros((0, 32, 32), np.uint16))
    with pytest.raises(ValueError, match="units need depth_range_mm"):
        SemanticEncoder().encode_numpy(units())
    with pytest.raises(ValueError, match=r"latent_dim must be that of .*encoder \(16\), got 768"):
        SemanticEncoder(pretrained_path=tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"must end in \.safetensors, got weights\.pth"):
        encoder.save_encoder_weights(tmp_path / "weights.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        encoder.load_pretrained_weights(tmp_path / "broken.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty must hold a depth pipeline, autoencoder or encoder"):
        encoder.load_pretrained_weights(tmp_path / "empty")
    for missing in (tmp_path / "nowhere", "nowhere.safetensors", hub.repo_id("nothing")):
        with pytest.raises(FileNotFoundError):
            encoder.load_pretrained_weights(missing)
