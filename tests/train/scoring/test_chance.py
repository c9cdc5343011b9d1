"""What is said of a judge that is no better than guessing."""

from __future__ import annotations

from echoform_train.scoring.chance import chance_sentence, nothing_learned


def test_a_judge_whose_interval_covers_guessing_has_learned_nothing():
    guessing = {"mean": 0.3, "low": 0.2, "high": 0.42}
    told = nothing_learned(guessing, 4)
    assert told == (
        "The judge has learned nothing: train longer. It names 30.0 % of held-out real spectrograms right "
        "(95 % interval 20.0 to 42.0 %), and guessing at random reaches 25.0 %."
    )
    assert nothing_learned(guessing | {"low": 0.26}, 4) is None
    # Worse than guessing is no better than guessing.
    assert nothing_learned({"mean": 0.1, "low": 0.05, "high": 0.18}, 4) is not None


def test_without_an_interval_the_mean_decides():
    assert nothing_learned({"mean": 0.25}, 4) is not None
    assert nothing_learned({"mean": 0.26, "low": None, "high": None}, 4) is None
    assert "They name" in (nothing_learned({"mean": 0.1}, 8, who="classifiers") or "")


def test_chance_is_one_of_the_number():
    assert chance_sentence(8) == "Chance: guessing one of 8 users at random is right for 12.5 %."
