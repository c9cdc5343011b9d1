"""The depth pipeline with a perfect autoencoder, whose every error is the pipeline's own, and with a real one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echoform import pipeline_depth_autoencoder
from tiny_depth import PerfectAutoencoder, tiny_autoencoder, tiny_depth_pipeline


def scene(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    """Depth in 400..4000 with a hole, uint16 [height, width]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    depth = 400 + 3000 * rows / height + 500 * columns / width + rng.integers(0, 100)
    depth[height // 4 : height // 2, width // 4 : width // 2] = 0
    return depth.astype(np.uint16)


@pytest.fixture
def warnings_of_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(pipeline_depth_autoencoder.logger, "warning", seen.append)
    return seen


def test_every_value_of_16_bits_survives_from_file_to_file(tmp_path: Path):
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(every).save(tmp_path / "in.png")
    pipe = tiny_depth_pipeline(PerfectAutoencoder(256), depth_range_mm={"min": 0.0, "max": 65535.0})
    output = pipe(tmp_path / "in.png", output_type="pil")
    output.depth[0].save(tmp_path / "out.png")
    assert output.depth[0].mode == "I;16"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), every)
    assert (output.rmse_mm, output.mae_mm, output.validity_iou, output.out_of_range) == ([0.0], [0.0], [1.0], [0])


def every_form(units: np.ndarray, folder: Path) -> dict[str, Any]:
    big = units.astype(">u2")
    png, tiff, big_tiff = folder / "a.png", folder / "a.tif", folder / "big.tif"
    Image.fromarray(units).save(png)
    Image.fromarray(units).save(tiff)
    big_image = Image.frombytes("I;16B", units.shape[::-1], big.tobytes())
    big_image.save(big_tiff)
    return {
        "png": png,
        "png as text": str(png),
        "tiff": tiff,
        "big-endian tiff": big_tiff,
        "I;16": Image.fromarray(units),
        "I;16B": big_image,
        "I": Image.fromarray(units.astype(np.int32)),
        "F": Image.fromarray(units.astype(np.float32)),
        "uint16": units,
        "big-endian": big,
        "int32": units.astype(np.int32),
        "float64": units.astype(np.float64),
        "float with NaN": np.where(units == 0, np.nan, units).astype(np.float32),
        "channel": units[None, None],
        "torch uint16": torch.from_numpy(units),
        "torch int32": torch.from_numpy(units.astype(np.int32)),
        "torch float": torch.from_numpy(units.astype(np.float32))[None],
    }


def test_every_form_of_an_image_is_the_same_image(tmp_path: Path):
    units = scene(20, 30)
    forms = every_form(units, tmp_path)
    pipe = tiny_depth_pipeline()
    expected = pipe.encode(units)
    assert expected.shape == (1, 16) and expected.dtype == torch.float32
    for name, form in forms.items():
        assert torch.equal(pipe.encode(form), expected), name
        assert np.array_equal(pipe.read(form if not hasattr(form, "ndim") else form.reshape(20, 30)), units), name
    with Image.open(forms["big-endian tiff"]) as image:
        assert image.mode == "I;16B"


def test_images_of_any_size_come_back_at_their_own(tmp_path: Path):
    sizes = [(32, 32), (64, 170), (1, 1), (5000, 3), (480, 640)]
    images = [scene(*size) for size in sizes]
    images[2][:] = 1234
    output = tiny_depth_pipeline(PerfectAutoencoder())(images, batch_size=2)
    assert [one.shape for one in output.depth] == [one.shape for one in output.valid] == sizes
    assert {one.dtype for one in output.depth} == {np.dtype(np.uint16)}
    assert np.array_equal(output.depth[0], images[0]) and output.rmse_mm[0] == 0
    assert output.depth[2].tolist() == [[1234]]
    for image, depth in zip(images, output.depth, strict=True):
        readings = depth[depth != 0]
        assert readings.min() >= 400 and readings.max() <= image.max()
    # The hole of a 480x640 image is 120 x 160 of it; its edges fall on the edges of the 32x32 pixels.
    assert output.validity_iou[4] == pytest.approx(1, abs=0.02)


def test_a_constant_image_an_empty_one_and_an_outlier_leave_one_another_alone():
    constant, empty, outlier = (np.full((32, 32), value, np.uint16) for value in (777, 0, 777))
    outlier[3, 4] = 65535
    pipe = tiny_depth_pipeline()
    together = pipe.encode([constant, empty, outlier, scene()])
    assert together.isfinite().all()
    for place, image in enumerate((constant, empty, outlier, scene())):
        torch.testing.assert_close(pipe.encode(image)[0], together[place], rtol=1e-5, atol=1e-6)

    output = tiny_depth_pipeline(PerfectAutoencoder())([constant, empty, outlier])
    assert (output.depth[0] == 777).all() and not output.depth[1].any()
    assert output.rmse_mm[0] == 0 and math.isnan(output.rmse_mm[1]) and math.isnan(output.mae_mm[1])
    assert output.validity_iou == [1, 1, 1]
    assert output.out_of_range == [0, 0, 1]


def test_readings_out_of_range_count_as_none_and_are_told(warnings_of_the_pipeline: list[str]):
    image, without = scene(), scene()
    image[0, :5], without[0, :5] = (100, 299, 5001, 9000, 65535), 0
    pipe = tiny_depth_pipeline()
    expected = pipe.encode(without)
    assert not warnings_of_the_pipeline
    assert torch.equal(pipe.encode(image), expected)
    assert pipe([image, without]).out_of_range == [5, 0]
    first, second = warnings_of_the_pipeline
    assert first.startswith("depth must be in 300..5000 mm, 5 of 960 readings (0.5%) are not")
    assert "5 of 1915 readings" in second


def test_a_reading_out_of_range_does_not_leak_into_its_neighbours_when_resized():
    image = np.full((64, 64), 1000, np.uint16)
    image[::2, 1::2] = 6000
    output = tiny_depth_pipeline(PerfectAutoencoder())(image)
    assert (output.depth[0] == 1000).all() and output.rmse_mm == [0.0]


def test_other_values_that_mean_no_reading_are_none():
    image = scene()
    pipe = tiny_depth_pipeline(
        PerfectAutoencoder(),
        depth_range_mm={"min": 0, "max": 65535},
        invalid_values={"0": "no reading", "65535": "too far"},
    )
    far = np.where(image == 0, 65535, image).astype(np.uint16)
    output = pipe([image, far])
    assert np.array_equal(output.depth[0], output.depth[1]) and not output.depth[1][image == 0].any()
    assert output.out_of_range == [0, 0]
    assert far.max() == 65535, "the image of the caller was changed"


def test_errors_are_in_millimetres_over_the_readings_of_the_input():
    # 1 unit is 0.2 mm, the range 0.2..1000 mm: a shift of model range by 2 * 100 / 4999 is 100 units, 20 mm.
    facts: dict[str, Any] = {"depth_range_mm": {"min": 0.2, "max": 1000.0}, "units_per_mm": 5.0}
    image = np.full((32, 32), 2000, np.uint16)
    image[:8] = 0
    pipe = tiny_depth_pipeline(PerfectAutoencoder(shift=2 * 100 / 4999), **facts)
    output = pipe(image)
    assert (output.depth[0][8:] == 2100).all() and not output.depth[0][:8].any()
    assert output.rmse_mm == pytest.approx([20.0]) and output.mae_mm == pytest.approx([20.0])
    # On the upper part of the range half of the rows is clamped: errors 20 and 0.
    image[16:] = 5000
    image[:8] = 2000
    image[8:16] = 5000
    image[:16] = 2000
    output = pipe(image)
    assert output.mae_mm == pytest.approx([10.0])
    assert output.rmse_mm == pytest.approx([math.sqrt(200.0)])


def test_a_model_that_denies_readings_gains_nothing_but_a_worse_validity(monkeypatch: pytest.MonkeyPatch):
    model = PerfectAutoencoder(shift=2 * 47 / 4700)
    decode = model.decode

    def deny_the_right_half(latents: torch.Tensor) -> Any:
        decoded = decode(latents)
        decoded.valid_logit[..., 16:] = -1
        return decoded

    monkeypatch.setattr(model, "decode", deny_the_right_half)
    output = tiny_depth_pipeline(model)(np.full((32, 32), 1000, np.uint16))
    assert output.validity_iou == [0.5]
    assert not output.depth[0][:, 16:].any() and not output.valid[0][:, 16:].any()
    assert output.rmse_mm == pytest.approx([47.0])


def test_embeddings_decode_to_what_the_reconstruction_is():
    images = [scene(seed=seed) for seed in range(3)]
    pipe = tiny_depth_pipeline()
    output = pipe(images)
    decoded = pipe.decode(output.latents)
    assert decoded.rmse_mm is None
    for left, right in zip(output.depth, decoded.depth, strict=True):
        assert np.array_equal(left, right)
    assert [one.shape for one in pipe.decode(output.latents, (20, 30)).depth] == [(20, 30)] * 3
    sizes = [(4, 5), (64, 7), (32, 32)]
    assert [one.shape for one in pipe.decode(output.latents, sizes).depth] == sizes
    assert torch.equal(pipe.reconstruct(images, return_dict=False)[2], pipe.encode(images))


def test_interpolation_goes_straight_from_one_embedding_to_the_other():
    pipe = tiny_depth_pipeline(PerfectAutoencoder())
    near, far = np.full((20, 30), 1000, np.uint16), np.full((20, 30), 3000, np.uint16)
    output = pipe.interpolate(near, far, steps=5)
    assert [int(one[0, 0]) for one in output.depth] == [1000, 1500, 2000, 2500, 3000]
    assert {one.shape for one in output.depth} == {(20, 30)}
    ends = pipe.encode([near, far])
    torch.testing.assert_close(output.latents[2], ends.mean(dim=0))
    with pytest.raises(ValueError, match=r"one size unless size is given, got \(20, 30\) and \(9, 9\)"):
        pipe.interpolate(near, far[:9, :9])
    assert pipe.interpolate(near, far[:9, :9], steps=2, size=(7, 8)).depth[1].shape == (7, 8)


def test_similarity_is_the_cosine_of_every_pair():
    pipe = tiny_depth_pipeline()
    images = [scene(seed=seed) for seed in range(3)]
    rows = pipe.encode(images).numpy().astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    expected = (rows @ rows[:2].T) / np.outer(lengths, lengths[:2])
    similarity = pipe.similarity(images, images[:2])
    np.testing.assert_allclose(similarity.numpy(), expected, atol=1e-6)
    assert pipe.similarity(images[0], images[0]).item() == pytest.approx(1)


def test_neither_batch_size_nor_training_mode_changes_an_embedding():
    images = [scene(seed=seed) for seed in range(5)]
    expected = tiny_depth_pipeline().encode(images)
    torch.testing.assert_close(tiny_depth_pipeline().encode(images, batch_size=2), expected)
    model = tiny_autoencoder(dropout=0.5).train()
    model.encoder.layer1.eval()
    modes = [module.training for module in model.modules()]
    pipe = tiny_depth_pipeline(model)
    assert torch.equal(pipe.encode(images), expected)
    assert [module.training for module in model.modules()] == modes


def test_half_precision_changes_depth_by_its_rounding_alone():
    images = [scene(seed=seed) for seed in range(2)]
    expected = tiny_depth_pipeline()(images)
    pipe = tiny_depth_pipeline()
    pipe.to(torch.bfloat16)
    output = pipe(images)
    assert output.latents.dtype == torch.float32
    np.testing.assert_allclose(output.depth[0].mean(), expected.depth[0].mean(), rtol=0.05)


def test_the_progress_bar_counts_batches(monkeypatch: pytest.MonkeyPatch):
    pipe = tiny_depth_pipeline()
    totals, updates = [], []

    class Bar:
        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self) -> None:
            updates.append(1)

    def progress_bar(total: int) -> Bar:
        totals.append(total)
        return Bar()

    monkeypatch.setattr(pipe, "progress_bar", progress_bar)
    pipe([scene()] * 5, batch_size=2)
    assert totals == [3] and len(updates) == 3


def save_multi_page(path: Path) -> None:
    pages = [Image.fromarray(scene(seed=seed)) for seed in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def save_truncated(path: Path) -> None:
    Image.fromarray(scene(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:200])


def save_pgm(path: Path) -> None:
    path.write_bytes(b"P5 2 1 4095\n" + np.array([1, 4095], ">u2").tobytes())


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("grey.png", lambda path: Image.new("L", (4, 4)).save(path), "16-bit greyscale, it is of mode L; 8 bits hold"),
        ("rgb.png", lambda path: Image.new("RGB", (4, 4)).save(path), "mode RGB; depth has one number per pixel"),
        ("p.png", lambda path: Image.new("P", (4, 4)).save(path), "mode P; depth has one number per pixel"),
        ("pages.tif", save_multi_page, "must hold one depth image, it holds several"),
        ("cut.png", save_truncated, "truncated or no image"),
        ("text.png", lambda path: path.write_text("no image"), "truncated or no image"),
        ("d.pgm", save_pgm, "must be PNG or TIFF, it is PPM"),
    ],
)
def test_files_that_are_no_depth_are_refused_by_name(
    tmp_path: Path, name: str, save: Callable[[Path], Any], message: str
):
    save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        tiny_depth_pipeline().encode([tmp_path / name])


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        tiny_depth_pipeline().encode(tmp_path / "nothing.png")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), "at least 16 bits, got uint8; 8 bits hold no millimetres"),
        (torch.zeros(4, 4, dtype=torch.uint8), "at least 16 bits, got uint8"),
        (np.zeros((4, 4), bool), "at least 16 bits, got bool"),
        (np.zeros((4, 4), np.float16), "must have at least 32 bits, got 16"),
        (torch.zeros(4, 4, dtype=torch.bfloat16), "must have at least 32 bits, got 16"),
        (Image.new("L", (4, 4)), "8 bits hold no millimetres"),
        (np.full((4, 4), 40000, np.uint16).view(np.int16), "must not be negative, got -25536; is it uint16"),
        (np.full((4, 4), np.inf), "must be finite, or NaN"),
        (np.zeros((4, 4, 1), np.uint16), r"\[N, H, W\] or \[N, 1, H, W\], got \[4, 4, 1\]"),
        (np.zeros((2, 3, 4, 4), np.uint16), r"got \[2, 3, 4, 4\]"),
        (np.zeros((0, 4, 4), np.uint16), "at least one image"),
        ([], "at least one image, got none"),
        ([np.zeros((2, 4, 4), np.uint16)], r"must be \[H, W\] with at least one pixel, got \[2, 4, 4\]"),
        (np.zeros((0, 4), np.uint16), r"at least one pixel, got \[0, 4\]"),
    ],
)
def test_inputs_that_are_no_depth_are_refused(image: Any, message: str):
    with pytest.raises(ValueError, match=message):
        tiny_depth_pipeline().encode(image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pipe: pipe(scene(), batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda pipe: pipe(scene(), output_type="pt"), "among np, pil, got 'pt'"),
        (lambda pipe: pipe.decode(torch.zeros(2, 7)), r"\[B, 16\] with B at least 1, got \[2, 7\]"),
        (lambda pipe: pipe.decode(torch.full((2, 16), math.nan)), "latents must be finite"),
        (lambda pipe: pipe.decode(torch.zeros(2, 16), [(4, 4)]), "one for each of 2 images, got 1"),
        (lambda pipe: pipe.decode(torch.zeros(2, 16), (4, 0)), r"at least 1 pixel, got \(4, 0\)"),
        (lambda pipe: pipe.interpolate(scene(), scene(), steps=1), "steps must be at least 2, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused(call: Callable[[Any], Any], message: str):
    with pytest.raises(ValueError, match=message):
        call(tiny_depth_pipeline())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"depth_range_mm": None}, "must hold min and max"),
        ({"invalid_values": {"65535": "too far"}}, r"must hold '0' and be units in 0\.\.65535, got \['65535'\]"),
        ({"invalid_values": {"0": "", "-1": ""}}, "must hold '0'"),
        ({"autoencoder": PerfectAutoencoder(input_channels=3)}, "must have one channel, because depth has one, got 3"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        tiny_depth_pipeline(**facts)


def test_a_model_that_overflows_is_told_from_one_that_sees_nothing():
    pipeline = tiny_depth_pipeline()
    torch.nn.init.constant_(pipeline.autoencoder.encoder.stem.weight, 3e38)
    with pytest.raises(FloatingPointError, match="embeddings must be finite"):
        pipeline.encode(scene())
