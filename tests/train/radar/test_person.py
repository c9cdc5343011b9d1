import numpy as np
import pytest

from echoform_train.radar.body import JOINTS, SEGMENT_INDEX, SEGMENTS
from echoform_train.radar.loads import CONDITIONS, Load
from echoform_train.radar.person import Person, carrying, draw_person


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


def test_a_backpack_reflects_with_the_torso_alone_and_most_from_behind():
    person = Person()
    backpack = carrying(person, "backpack")
    torso = SEGMENT_INDEX["torso"]
    assert backpack.gain_db[torso] > 0
    assert sum(gain != 0 for gain in backpack.gain_db) == 1
    assert backpack.back_gain_db > backpack.gain_db[torso]
    assert carrying(person, "normal") == person


def test_a_backpack_does_to_the_gait_what_loads_are_known_to_do():
    # LaFiandra et al. 2003: under a load, people lean, turn the trunk less, swing the arms less, step quicker.
    person = Person()
    backpack = carrying(person, "backpack")
    assert 3 < backpack.lean_deg - person.lean_deg < 15
    assert backpack.torso_sway < person.torso_sway
    assert max(backpack.right_arm_swing, backpack.left_arm_swing) < 1
    assert backpack.cadence_factor > 1
    assert backpack.speed_mps < person.speed_mps


def test_a_bag_stills_the_right_arm_and_a_phone_the_left_one_as_well():
    person = Person()
    bag, phone = carrying(person, "bag"), carrying(person, "bag_phone")
    assert bag.right_arm_swing < 0.2 < bag.left_arm_swing
    assert max(phone.right_arm_swing, phone.left_arm_swing) < 0.2
    assert phone.left_elbow_deg is not None
    assert phone.left_elbow_deg > 90
    louder = {segment.name for segment, gain in zip(SEGMENTS, phone.gain_db, strict=True) if gain > 0}
    assert louder == {"right_forearm", "left_forearm"}


def test_people_respond_to_a_load_in_ways_of_their_own():
    people = [draw_person(np.random.default_rng(seed)) for seed in range(50)]
    for condition in ("backpack", "bag", "bag_phone"):
        segment = SEGMENT_INDEX["torso" if condition == "backpack" else "right_forearm"]
        added_db = {carrying(person, condition).gain_db[segment] - person.gain_db[segment] for person in people}
        assert len(added_db) == 50
    leans = [carrying(person, "backpack").lean_deg - person.lean_deg for person in people]
    assert np.std(leans) > 1


def test_a_load_names_known_segments():
    with pytest.raises(ValueError, match=r"gain_db must name segments \(head, .*\), got hat"):
        Load(gain_db=(("hat", 1.0),))


def test_unknown_conditions_name_the_known_ones():
    with pytest.raises(ValueError, match=", ".join(CONDITIONS) + ", got umbrella"):
        carrying(Person(), "umbrella")


def test_impossible_bodies_are_refused():
    with pytest.raises(ValueError, match="height_m must be positive, got 0"):
        Person(height_m=0)
    with pytest.raises(ValueError, match="gain_db must hold 16 values, one per segment, got 2"):
        Person(gain_db=(0.0, 1.0))
