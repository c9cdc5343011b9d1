import pytest
import torch

from echoform_train.latent_diffusion.objective import BETA_SCHEDULES, FlowMatching, VPrediction


def noised(objective, latents, noise, level):
    return objective.noised(latents, noise, torch.full((len(latents),), level))


@pytest.mark.parametrize("schedule", BETA_SCHEDULES)
def test_every_schedule_ends_in_pure_noise_and_its_velocity_there_is_the_latent_turned_round(schedule):
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    at_end, timesteps, target, _ = noised(VPrediction(schedule, 5.0), latents, noise, 0.9999)
    assert timesteps.tolist() == [999, 999]
    assert torch.allclose(at_end, noise, atol=2e-3)
    assert torch.allclose(target, -latents, atol=2e-3)


def sampled(objective, steps, perfect_prediction):
    """What the sampler makes of noise when the network predicts perfectly."""
    scheduler = objective.sampler()
    scheduler.set_timesteps(steps)
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for t in scheduler.timesteps:
        sample = scheduler.step(perfect_prediction(sample, t), t, sample).prev_sample
    return sample


@pytest.mark.parametrize("steps", [1, 8])
def test_samplers_find_the_latent_again_when_the_network_is_perfect(steps):
    # With one data point the best prediction is known in closed form at every noise level.
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    velocity = VPrediction("cosine", 5.0)

    def perfect_velocity(sample, t):
        alpha = velocity.noise.alphas_cumprod[int(t)].sqrt()
        noise = (sample - alpha * latent) / (1 - alpha**2).sqrt()
        return velocity.noise.get_velocity(latent, noise, t[None])

    assert torch.allclose(sampled(velocity, steps, perfect_velocity), latent, atol=1e-3)
    flow = sampled(FlowMatching(), steps, lambda sample, t: (sample - latent) / (t / 1000))
    assert torch.allclose(flow, latent, atol=1e-3)


def test_min_snr_weights_are_those_of_the_paper_for_v_prediction():
    objective = VPrediction("linear", 5.0)
    alphas = objective.noise.alphas_cumprod
    snr = alphas / (1 - alphas)
    assert torch.allclose(objective.weights, torch.minimum(snr, torch.tensor(5.0)) / (snr + 1), atol=1e-6)
    assert torch.equal(VPrediction("linear", 0.0).weights, torch.ones(1000))


def test_flow_noise_levels_are_logit_normal():
    objective = FlowMatching()
    uniform = (torch.arange(2000) + 0.5) / 2000
    _, timesteps, _, _ = objective.noised(torch.zeros(2000, 1, 1, 1), torch.zeros(2000, 1, 1, 1), uniform)
    logit = torch.logit(timesteps.double() / 1000)
    assert logit.mean().abs() < 1e-3
    assert logit.std().item() == pytest.approx(1.0, abs=0.01)
