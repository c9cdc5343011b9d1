"""The verdict on hand-made scores, one too low at a time."""

from __future__ import annotations

from typing import Any

import pytest

from echoform_train.latent_diffusion.verdict import verdict

GOOD: Any = {
    "psnr_db": {"mean": 30.0},
    "thumbnail_psnr_db": 22.0,
    "accuracy": {"real": {"mean": 0.9}, "kept": {"mean": 0.97}},
    "codebook": {"size": 256, "use": 1.0, "perplexity": 180.0},
}


def test_a_first_stage_that_passes_every_check_is_good_enough():
    told = verdict(GOOD, num_users=4)
    assert told["good_enough"] and told["sentence"].startswith("Good enough to train a second stage on: PSNR is 8.0 dB")
    assert len(told["checks"]) == 4
    assert len(verdict(GOOD | {"codebook": None}, num_users=4)["checks"]) == 3


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"psnr_db": {"mean": 20.0}}, "PSNR is 2.0 dB below a thumbnail"),
        ({"accuracy": {"real": {"mean": 0.9}, "kept": {"mean": 0.94}}}, "keep 94.0% of their accuracy, 95% are needed"),
        ({"accuracy": {"real": {"mean": 0.4}, "kept": {"mean": 1.0}}}, "name 40.0% of real images right, 50% are"),
        ({"codebook": {"size": 512, "use": 0.004, "perplexity": 2.0}}, "perplexity is 2 of 512 codes, 51 are needed"),
    ],
)
def test_the_verdict_says_what_is_not_good_enough(worse: dict[str, Any], reason: str):
    told = verdict(GOOD | worse, num_users=4)
    assert not told["good_enough"]
    assert told["sentence"].startswith("Not good enough to train a second stage on: ")
    assert reason in told["sentence"] and "keep 97" not in told["sentence"]
    assert [check["passed"] for check in told["checks"]].count(False) == 1


def test_judges_that_only_guess_give_no_verdict():
    guessing = {"accuracy": {"real": {"mean": 0.3, "low": 0.21, "high": 0.41}, "kept": {"mean": 1.0}}}
    told = verdict(GOOD | guessing, num_users=4)
    assert not told["good_enough"]
    assert told["sentence"].startswith(
        "The judges have learned nothing: train longer. They name 30.0 % of held-out real spectrograms right "
        "(95 % interval 21.0 to 41.0 %), and guessing at random reaches 25.0 %."
    )
