import numpy as np
import pytest

from echoform_train.depth.latents import latent_statistics, map_to_plane


def test_facts_of_embeddings_with_a_known_spectrum():
    rng = np.random.default_rng(0)
    latents = np.zeros((4000, 5))
    latents[:, :3] = rng.normal(size=(4000, 3)) * [3, 1, 1]
    latents[:, 3] = 1e-6 * rng.normal(size=4000)
    latents[:, 4] = 12.0
    facts = latent_statistics(latents)
    assert facts["dead_dimensions"] == 2
    assert facts["spectrum"][:3] == pytest.approx([9 / 11, 1 / 11, 1 / 11], abs=0.02)
    assert facts["components_for_90"] == 2 and facts["components_for_99"] == 3
    entropy = -(9 / 11 * np.log(9 / 11) + 2 / 11 * np.log(1 / 11))
    assert facts["effective_dimensions"] == pytest.approx(np.exp(entropy), rel=0.02)
    assert facts["norm_mean"] == pytest.approx(np.linalg.norm(latents, axis=1).mean())


def test_a_map_keeps_clusters_apart():
    labels = np.arange(60) % 3
    embeddings = np.eye(3, 6)[labels] * 5 + np.random.default_rng(0).normal(size=(60, 6))
    positions = map_to_plane(embeddings.astype(np.float32))
    centres = np.stack([positions[labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(positions[:, None] - centres, axis=-1).argmin(1)
    assert (nearest == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latent_statistics(np.ones((4, 3))), "all are the same"),
        (lambda: latent_statistics(np.ones((1, 3))), "at least 2"),
        (lambda: map_to_plane(np.ones((3, 3))), "at least 4"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
