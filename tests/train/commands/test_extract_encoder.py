import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel

from code_names import travelling_name
from echoform import depth_autoencoder
from echoform.depth_autoencoder import DepthAutoencoder, DepthEncoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform.semantic_encoder import SemanticEncoder
from echoform_train import cli
from echoform_train.commands.extract_encoder import Config, main
from echoform_train.depth.encoder_export import find_encoder, save_encoder


def probe(sample_size=32):
    generator = torch.Generator().manual_seed(1)
    depth = 2 * torch.rand(2, 1, sample_size, sample_size, generator=generator) - 1
    return depth, torch.rand(2, 1, sample_size, sample_size, generator=generator) < 0.8


@torch.no_grad()
def embedding_of(model):
    return model(*probe())


@pytest.fixture(scope="module")
def expected(depth_ae):
    """What the encoder of the exported pipeline makes of two images."""
    return embedding_of(DepthAutoencoderPipeline.from_pretrained(depth_ae / "pipeline").autoencoder.encoder)


@pytest.mark.parametrize("source", ["pipeline", "."])
def test_the_encoder_of_a_training_stands_alone_with_the_same_embeddings(source, depth_ae, expected, tmp_path, capsys):
    cli.main(["extract-encoder", str(depth_ae / source), "--output-dir", str(tmp_path / "encoder"), "--verify"])
    assert "bit-equal" in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "encoder").iterdir()}
    code = travelling_name(depth_autoencoder)
    assert {"diffusion_pytorch_model.safetensors", "config.json", code, "README.md"} <= files
    loaded = DepthEncoder.from_pretrained(tmp_path / "encoder")
    assert torch.equal(embedding_of(loaded.eval()), expected)
    facts = DepthAutoencoderPipeline.from_pretrained(depth_ae / "pipeline").config
    assert loaded.config["depth_range_mm"] == facts["depth_range_mm"]


def test_the_encoder_of_a_repository_is_extracted_as_that_of_a_folder(hub, depth_ae, expected, tmp_path):
    from echoform.hub import push_folder

    repo = hub.repo_id("depth-ae")
    push_folder(depth_ae / "pipeline", repo)
    main(Config(source=repo, output_dir=tmp_path / "encoder", license="mit", people="simulated"))
    assert torch.equal(embedding_of(DepthEncoder.from_pretrained(tmp_path / "encoder").eval()), expected)
    card = ModelCard.load(tmp_path / "encoder" / "README.md")
    facts = card.data.to_dict()
    assert (facts["license"], facts["base_model"]) == ("mit", repo)
    assert "The training data show no real person." in card.text


def test_a_checkpoint_gives_its_averaged_weights(depth_ae, tmp_path):
    # The best validation was the last one, when averaged weights were kept and a checkpoint was written.
    checkpoint = sorted((depth_ae / "checkpoints").iterdir())[-1]
    encoder = main(Config(source=str(checkpoint), output_dir=tmp_path / "encoder"))
    best = DepthAutoencoder.from_pretrained(depth_ae / "autoencoder").eval()
    assert torch.equal(embedding_of(encoder), embedding_of(best.encoder))
    trained = load_file(checkpoint / "autoencoder.safetensors")
    assert any(not torch.equal(trained[f"encoder.{name}"], value) for name, value in encoder.state_dict().items())


def test_the_encoder_goes_into_transformers(depth_ae, expected, tmp_path):
    main(Config(source=str(depth_ae), output_dir=tmp_path / "encoder", format="transformers"))
    model = AutoModel.from_pretrained(tmp_path / "encoder", trust_remote_code=True)
    depth, valid = probe()
    with torch.no_grad():
        assert torch.equal(model(depth=depth, valid=valid).pooler_output, expected)


@pytest.mark.parametrize("format", ["diffusers", "transformers"])
def test_every_extracted_folder_has_a_readme_whose_code_runs_there(format, depth_ae, tmp_path, monkeypatch):
    encoder, _ = find_encoder(str(depth_ae / "pipeline"))
    folder = tmp_path / "encoder"
    save_encoder(encoder, None, folder, format)  # as for a source without facts of its training
    readme = (folder / "README.md").read_text(encoding="utf-8")
    size, numbers = encoder.config["sample_size"], encoder.config["latent_dim"]
    assert f"{size}x{size} pixels into {numbers} numbers" in readme
    low, high = encoder.config["depth_range_mm"]["min"], encoder.config["depth_range_mm"]["max"]
    assert f"{low:g} to {high:g} mm" in readme
    code = readme.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(folder)
    made = {}
    exec(code, made)  # what a reader pastes
    assert np.asarray(made["embedding"].detach() if format == "diffusers" else made["embedding"]).size == numbers


def test_an_older_file_of_tensors_becomes_safetensors(tmp_path):
    encoder = DepthEncoder().eval()
    torch.save({"state_dict": encoder.state_dict()}, tmp_path / "old.pth")
    main(Config(source=str(tmp_path / "old.pth"), output_dir=tmp_path / "encoder"))
    depth, valid = probe(128)
    with torch.no_grad():
        again = SemanticEncoder(pretrained_path=tmp_path / "encoder").encode(depth, valid)
        assert torch.equal(encoder(depth, valid), again)


def test_an_older_file_with_other_tensors_is_refused_with_their_names(tmp_path):
    tensors = DepthEncoder().state_dict()
    tensors.pop("stem.weight")
    torch.save(tensors, tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r"old\.pth .*stem\.weight"):
        main(Config(source=str(tmp_path / "old.pth"), output_dir=tmp_path / "encoder"))


def test_a_pickle_with_code_in_it_is_not_run(tmp_path):
    torch.save(Path("anything but tensors"), tmp_path / "old.pth")
    with pytest.raises(ValueError, match="nothing but tensors"):
        main(Config(source=str(tmp_path / "old.pth"), output_dir=tmp_path / "encoder"))


def test_what_is_saved_wrongly_does_not_pass(depth_ae, tmp_path, monkeypatch):
    def save_noise(self, folder, **settings):
        with torch.no_grad():
            self.head.bias.add_(1e-6)
        original(self, folder, **settings)
        with torch.no_grad():
            self.head.bias.sub_(2e-6)

    original = DepthEncoder.save_pretrained
    monkeypatch.setattr(DepthEncoder, "save_pretrained", save_noise)
    with pytest.raises(RuntimeError, match="bit by bit, the largest difference is"):
        main(Config(source=str(depth_ae), output_dir=tmp_path / "encoder"))
    assert not any(tmp_path.iterdir())


def test_a_training_without_an_export_names_its_checkpoints(depth_ae, tmp_path):
    shutil.copytree(depth_ae, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "pipeline")
    with pytest.raises(FileNotFoundError, match=r"not finished; name one of its checkpoints, such as .*000000192"):
        main(Config(source=str(tmp_path / "run"), output_dir=tmp_path / "encoder"))


def test_a_folder_that_holds_something_is_not_written_into(depth_ae, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"--output-dir must be a new or an empty folder, .* holds note\.txt"):
        main(Config(source=str(depth_ae), output_dir=tmp_path))
