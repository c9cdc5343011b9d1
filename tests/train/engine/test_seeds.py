import numpy as np
import torch

from echoform_train.engine.seeds import mix_seed


def test_seeds_of_neighbouring_counters_are_as_spread_as_random_numbers():
    seeds = np.array([mix_seed(0, counter) for counter in range(20_000)], dtype=np.uint64)
    # The expected number of equal pairs among 20,000 draws of 32 bits is 0.05.
    assert len(set(seeds.tolist())) >= len(seeds) - 2
    bits = (seeds[:, None] >> np.arange(32, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / len(seeds) ** 0.5


def test_a_large_difference_in_one_number_gives_other_noise():
    noise = [torch.randn(4, generator=torch.Generator().manual_seed(mix_seed(seed, 0))) for seed in (0, 1, 1 << 40)]
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    assert mix_seed(1, 2) != mix_seed(2, 1)
