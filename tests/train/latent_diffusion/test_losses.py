from urllib.error import URLError

import pytest
import torch

from echoform_train.latent_diffusion.losses import PatchDiscriminator, discriminator_loss, share_limit, spectral_loss
from echoform_train.scoring.perceptual import PerceptualLoss


def test_spectral_loss_is_zero_for_a_cyclic_shift_because_amplitudes_do_not_move():
    image = torch.rand(2, 1, 16, 16) * 2 - 1
    assert spectral_loss(image.roll(5, dims=-1), image).item() == pytest.approx(0.0, abs=1e-6)


def test_spectral_loss_of_two_constants_is_the_difference_of_their_one_coefficient():
    # The orthonormal transform of a constant c of N x N pixels has the one coefficient c N; the half spectrum has
    # N (N/2 + 1) of them.
    n, a, b = 8, 0.5, 0.25
    loss = spectral_loss(torch.full((1, 1, n, n), a), torch.full((1, 1, n, n), b))
    expected = abs(torch.log1p(torch.tensor(a * n)) - torch.log1p(torch.tensor(b * n))) / (n * (n // 2 + 1))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("part", "others", "max_share", "expected"),
    [
        (3.0, 1.0, 0.5, 1 / 3),  # 1 of 1 + 1
        (9.0, 3.0, 0.25, 1 / 9),  # 1 of 1 + 3
        (1.0, 3.0, 0.25, 1.0),  # exactly at the limit
        (0.5, 3.0, 0.25, 1.0),
        (100.0, 1.0, 1.0, 1.0),
        (0.0, 0.0, 0.5, 1.0),
    ],
)
def test_a_part_of_a_loss_is_scaled_down_to_its_share_and_never_up(part, others, max_share, expected):
    factor = share_limit(torch.tensor(part), torch.tensor(others), max_share)
    assert factor.item() == pytest.approx(expected)


def test_the_factor_of_a_limited_part_has_no_gradient():
    part, others = torch.tensor(3.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    (share_limit(part, others, 0.5) * part + others).backward()
    assert part.grad is not None and others.grad is not None
    assert (part.grad.item(), others.grad.item()) == (pytest.approx(1 / 3), 1.0)


def test_the_discriminator_learns_to_tell_two_textures_apart():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, width=8)
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3)
    real, fake = torch.randn(8, 1, 32, 32).sign(), torch.randn(8, 1, 32, 32).sign().repeat_interleave(2, -1)[..., :32]
    losses = []
    for _ in range(40):
        loss = discriminator_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.8
    assert losses[-1] < 0.1


def test_missing_perceptual_weights_are_named_with_the_flag_that_goes_without(monkeypatch):
    def no_network(*_, **__):
        raise URLError("no network")

    import torchvision.models as models

    monkeypatch.setattr(models, "alexnet", no_network)
    with pytest.raises(FileNotFoundError, match=r"alex weights.*--lpips-weight 0"):
        PerceptualLoss()
