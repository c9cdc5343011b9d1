"""`echoform classify` names what it cannot use; what it answers is held against transformers in test_classifier.py."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from echoform.spectrogram_classifier import SpectrogramImageProcessor
from echoform.spectrogram_resnet import SpectrogramResNet
from echoform_train.commands.classify import Config, main
from echoform_train.data.colormap import lookup_table, paint
from echoform_train.publishing.classifier_export import make_classifier


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier of random weights, for pictures of 32x32 in jet."""
    torch.manual_seed(0)
    folder = tmp_path / "who"
    make_classifier(SpectrogramResNet(1, 3), ["a", "b", "c"], temperature=1.0).save_pretrained(folder)
    colors = lookup_table("jet").tobytes().hex()
    SpectrogramImageProcessor(32, 32, colormap="jet", colors=colors, native_size=(32, 32)).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "day").mkdir(parents=True)
    for number in range(3):
        index = torch.randint(256, (32, 32), dtype=torch.uint8).numpy()
        Image.fromarray(paint(index, "jet")).save(folder / "day" / f"{number}.png")
    return folder


def test_files_of_a_folder_are_named_below_it_and_those_of_several_with_it(model, pictures, tmp_path):
    names = ["day/0.png", "day/1.png", "day/2.png"]
    assert [answer.file for answer in main(Config(sources=(pictures,), model=str(model)))] == names
    single = pictures / "day" / "1.png"
    several = main(Config(sources=(pictures, single), model=str(model), batch_size=2))
    assert [answer.file for answer in several] == [*(f"{pictures}/{name}" for name in names)]
    assert sum(share for _, share in several[0].top) == pytest.approx(1, abs=1e-5)
    assert several[0].top[0] == (several[0].user, several[0].probability)


def test_bad_files_stop_it_or_are_listed(model, pictures, capsys):
    (pictures / "day" / "broken.png").write_bytes(b"no image")
    Image.new("L", (32, 32), 7).save(pictures / "day" / "grey.png")
    with pytest.raises(ValueError, match=r"day/broken.png: "):
        main(Config(sources=(pictures,), model=str(model)))
    assert len(main(Config(sources=(pictures,), model=str(model), skip_bad_files=True))) == 3
    printed = capsys.readouterr().out
    assert "skipped day/broken.png: " in printed and "skipped day/grey.png: " in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": Path("answers.txt")}, "--output must be a .csv or .jsonl file, got answers.txt"),
        ({"sources": (Path("nowhere"),)}, "there is no folder or file nowhere"),
        ({"sources": ()}, "needs folders or pictures"),
        ({"batch_size": 0}, "--batch-size must be a whole number"),
    ],
)
def test_flags_that_cannot_be_right_are_refused(model, pictures, change, message):
    settings = {"sources": (pictures,), "model": str(model)} | change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        main(Config(**settings))


def test_a_model_without_its_image_processor_is_refused(model, pictures):
    (model / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no preprocessor_config\.json"):
        main(Config(sources=(pictures,), model=str(model)))
