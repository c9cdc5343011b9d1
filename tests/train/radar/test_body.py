import numpy as np
import pytest

from echoform_train.radar.body import CONDITIONS, JOINTS, SEGMENT_INDEX, SEGMENTS, Person, carrying, draw_person


def test_the_body_has_sixteen_segments_between_known_joints():
    assert len(SEGMENTS) == 16
    assert {joint for segment in SEGMENTS for joint in (segment.start, segment.end)} == set(JOINTS)


def test_an_average_leg_is_the_published_share_of_the_height():
    assert Person(height_m=1.75).leg_m == pytest.approx(0.491 * 1.75)


def test_people_are_drawn_like_adults_and_differ():
    people = [draw_person(np.random.default_rng(seed)) for seed in range(200)]
    heights = np.array([person.height_m for person in people])
    assert heights.mean() == pytest.approx(1.73, abs=0.03)
    assert heights.std() == pytest.approx(0.09, abs=0.02)
    assert len({person.cadence_factor for person in people}) == 200
    assert np.mean([person.left_phase for person in people]) == pytest.approx(0.5, abs=0.004)


def test_the_same_seed_draws_the_same_person():
    assert draw_person(np.random.default_rng(3)) == draw_person(np.random.default_rng(3))


def test_a_backpack_reflects_with_the_torso_alone_and_a_bag_stills_the_right_arm():
    person = Person()
    backpack, bag = carrying(person, "backpack"), carrying(person, "bag")
    assert backpack.gain_db[SEGMENT_INDEX["torso"]] > 0
    assert sum(gain != 0 for gain in backpack.gain_db) == 1
    assert backpack.lean_deg > person.lean_deg
    assert bag.right_arm_swing < 0.2 < bag.left_arm_swing
    assert carrying(person, "normal") == person


def test_unknown_conditions_name_the_known_ones():
    with pytest.raises(ValueError, match=", ".join(CONDITIONS) + ", got umbrella"):
        carrying(Person(), "umbrella")


def test_impossible_bodies_are_refused():
    with pytest.raises(ValueError, match="height_m must be positive, got 0"):
        Person(height_m=0)
    with pytest.raises(ValueError, match="gain_db must hold 16 values, one a segment, got 2"):
        Person(gain_db=(0.0, 1.0))
