import pytest
import torch
from accelerate import Accelerator
from diffusers import VQModel
from scipy.spatial.distance import cdist

from echoform_train.latent_diffusion.codebook import EMACodebook, look_up, nearest_codes


def blobs(centres: torch.Tensor, a_centre: int, generator: torch.Generator) -> torch.Tensor:
    noise = 0.01 * torch.randn(len(centres) * a_centre, centres.shape[1], generator=generator)
    return centres.repeat_interleave(a_centre, 0) + noise


def test_nearest_codes_are_those_of_scipy_and_of_the_stock_quantiser():
    generator = torch.Generator().manual_seed(0)
    latents, weight = torch.randn(2, 4, 5, 6, generator=generator), torch.randn(32, 4, generator=generator)
    codes = nearest_codes(latents, weight)
    flat = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    assert codes.flatten().tolist() == cdist(flat.numpy(), weight.numpy()).argmin(1).tolist()
    model = VQModel(block_out_channels=(8,), norm_num_groups=8, latent_channels=4, num_vq_embeddings=32)
    model.quantize.embedding.weight.data.copy_(weight)
    assert torch.allclose(model.quantize(latents)[0], look_up(codes, weight), atol=1e-6)


def test_k_means_start_finds_the_centres_of_separate_blobs():
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(8) * 5
    weight = torch.zeros(8, 8)
    EMACodebook(weight, Accelerator(cpu=True)).start(blobs(centres, 50, generator), seed=0)
    distance = torch.cdist(centres, weight)
    assert distance.min(1).values.max() < 0.02
    assert sorted(distance.argmin(1).tolist()) == list(range(8))


def test_averages_converge_to_the_mean_of_what_chose_each_code():
    weight = torch.tensor([[-1.0], [1.0]])
    codebook = EMACodebook(weight, Accelerator(cpu=True), decay=0.5)
    latents = torch.tensor([-2.0, -4.0, 3.0, 3.0]).reshape(1, 1, 2, 2)
    for _ in range(40):
        codebook.update(latents, nearest_codes(latents, weight), torch.Generator().manual_seed(0))
    assert weight.flatten().tolist() == pytest.approx([-3.0, 3.0], abs=1e-3)


def test_a_code_that_nothing_chooses_is_put_on_a_latent_of_the_batch():
    weight = torch.tensor([[0.0, 0.0], [100.0, 100.0]])
    codebook = EMACodebook(weight, Accelerator(cpu=True), decay=0.5)
    codebook.counts.fill_(0.5)
    codebook.sums.copy_(weight * 0.5)
    latents = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    restarted = [
        codebook.update(latents, nearest_codes(latents, weight), torch.Generator().manual_seed(0)) for _ in range(8)
    ]
    assert sum(restarted) >= 1
    assert weight.abs().max() < 10


def test_starting_with_fewer_latents_than_codes_is_refused():
    with pytest.raises(ValueError, match="codebook of 16 codes needs at least as many latents to start, got 3"):
        EMACodebook(torch.zeros(16, 2), Accelerator(cpu=True)).start(torch.zeros(3, 2), seed=0)
