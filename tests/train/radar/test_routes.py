from dataclasses import replace

import numpy as np
import pytest

from echoform_train.radar.body import JOINT_INDEX, SEGMENTS
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.person import Person
from echoform_train.radar.recordings import Measurement
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar
from echoform_train.radar.routes import MARGIN_M, Path, bend, distance_along, draw_path, turn_speed_share
from echoform_train.radar.stft import spectrogram
from echoform_train.radar.walks import Walk, record_walk, walk_motion

PERSON = Person(height_m=1.75)
FREE = Walk(person=PERSON, direction="free", speed_mps=1.3, speed_variation=0.0)


def circle(radius_m: float, length_m: float, turn: int = 1) -> Path:
    """A circle to the left (1) or to the right (-1) that starts at the origin along x."""
    distance_m = np.arange(-MARGIN_M, length_m + MARGIN_M, 0.05)
    angle = distance_m / radius_m
    return Path(
        distance_m=distance_m,
        position_m=radius_m * np.column_stack([np.sin(angle), turn * (1 - np.cos(angle))]),
        heading_rad=turn * angle,
        curvature_per_m=np.full(len(distance_m), turn / radius_m),
    )


def test_a_path_is_as_long_as_it_says_smooth_and_in_the_field():
    turned_deg = []
    for seed in range(20):
        path = draw_path(20.0, np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(np.diff(path.position_m, axis=0), axis=1), 0.05, rtol=1e-3)
        assert path.distance_m[0] == -MARGIN_M
        assert path.distance_m[-1] >= 20.0 + MARGIN_M - 0.05
        assert np.abs(path.curvature_per_m).max() <= 1 / 0.8 + 1e-9
        np.testing.assert_allclose(
            np.gradient(path.heading_rad, path.distance_m)[1:-1], path.curvature_per_m[1:-1], atol=0.2
        )
        assert 1.5 < path.position_m[:, 0].min() < path.position_m[:, 0].max() < 13.5
        assert np.abs(path.position_m[:, 1]).max() < 5.5
        turned_deg.append(np.degrees(np.abs(np.diff(path.heading_rad)).sum()))
    assert min(turned_deg) > 90


def test_in_a_hall_people_walk_to_and_fro_before_the_radar_and_slow_down_to_turn():
    for seed in range(10):
        path = draw_path(40.0, np.random.default_rng(seed), hall=True)
        assert 1.0 < path.position_m[:, 0].min() < path.position_m[:, 0].max() < 12.0
        assert np.abs(path.position_m[:, 1]).max() < 3.0
        # On most of the way people walk along the line of sight, and half of the way towards the radar.
        along = np.cos(path.heading_rad)
        assert (np.abs(along) > 0.9).mean() > 0.45
        assert 0.3 < (along < 0).mean() < 0.7
        # 40 m are at least three turns of half a circle, in which the speed falls below three quarters.
        assert np.abs(np.diff(path.heading_rad)).sum() > 3 * np.pi
        assert turn_speed_share(path.curvature_per_m).min() < 0.75
    walk = replace(FREE, direction="hall", start_and_stop=True)
    motion = walk_motion(walk, 12.0, np.random.default_rng(0))
    speed_mps = np.diff(motion.travelled_m) * JOINT_RATE_HZ
    assert max(speed_mps[0], speed_mps[-1]) < 0.1 * speed_mps.max()


def test_paths_are_drawn_by_the_seed():
    one, same, other = (draw_path(10.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.position_m, same.position_m)
    assert np.abs(one.position_m - other.position_m).max() > 0.5


def test_a_walker_slows_down_in_turns_by_the_cube_root_of_the_radius():
    assert turn_speed_share(np.array(0.0)) == 1
    assert turn_speed_share(np.array(1 / 0.25)) / turn_speed_share(np.array(1 / 0.125)) == pytest.approx(
        2 ** (1 / 3), rel=0.01
    )
    path = circle(1.0, 10.0)
    distance_m, speed_mps = distance_along(path, np.full(256 * 5, 1.3), 256)
    np.testing.assert_allclose(speed_mps, 1.3 * 5 ** (-1 / 6), rtol=1e-6)
    np.testing.assert_allclose(np.gradient(distance_m) * 256, speed_mps, rtol=1e-6)
    with pytest.raises(ValueError, match="the path must be as long as the walk"):
        distance_along(circle(1.0, 3.0), np.full(256 * 5, 1.3), 256)


def test_a_straight_path_leaves_a_walk_as_it_is():
    phase = np.linspace(0, 2, 300)
    joints = walking_joints(PERSON, 1.3, phase, 1.3 * phase)
    distance_m = np.arange(-MARGIN_M, 5.0, 0.05)
    line = Path(
        distance_m=distance_m,
        position_m=np.column_stack([distance_m, np.zeros_like(distance_m)]),
        heading_rad=np.zeros_like(distance_m),
        curvature_per_m=np.zeros_like(distance_m),
    )
    np.testing.assert_allclose(bend(joints, line), joints, atol=1e-9)


def test_on_a_circle_the_body_faces_along_it_and_the_outer_foot_goes_the_longer_way():
    radius_m = 1.5
    cycle_s = gait_timing(PERSON, 1.0).cycle_s
    phase = np.arange(0, 4, 1 / 200)
    joints = bend(walking_joints(PERSON, 1.0, phase, 1.0 * phase * cycle_s), circle(radius_m, 6.0))
    pelvis, left, right = (joints[:, JOINT_INDEX[name], :2] for name in ("pelvis", "left_hip", "right_hip"))
    centre = np.array([0.0, radius_m])
    inwards = (centre - pelvis) / np.linalg.norm(centre - pelvis, axis=1, keepdims=True)
    across = (left - right) / np.linalg.norm(left - right, axis=1, keepdims=True)
    # Turning left, the left hip points to the centre, give or take the pelvis's own turns of 5 degrees.
    assert np.einsum("td,td->t", inwards, across).min() > np.cos(np.radians(10))

    def distance_m(name: str) -> float:
        foot = joints[::200, JOINT_INDEX[name], :2]  # once a cycle
        return float(np.linalg.norm(np.diff(foot, axis=0), axis=1).sum())

    half_m = 0.191 / 2 * 1.75
    ratio = (radius_m + half_m) / (radius_m - half_m)
    assert distance_m("right_ankle") / distance_m("left_ankle") == pytest.approx(ratio, rel=0.02)


def test_bones_keep_their_length_in_turns():
    rng = np.random.default_rng(3)
    joints = walk_motion(FREE, 10.0, rng).joints
    for segment in SEGMENTS:
        if segment.name != "torso":  # whose length changes as the back bends
            bone = joints[:, JOINT_INDEX[segment.end]] - joints[:, JOINT_INDEX[segment.start]]
            assert np.ptp(np.linalg.norm(bone, axis=1)) < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_standing_feet_slide_no_more_in_turns_than_on_a_straight_walk(seed):
    def sliding(walk: Walk) -> float:
        motion = walk_motion(walk, 12.0, np.random.default_rng(seed))
        slid = []
        for side, late in (("right", 0.0), ("left", 0.5)):
            feet = motion.joints[:, [JOINT_INDEX[f"{side}_ankle"], JOINT_INDEX[f"{side}_toe"]], :2].mean(axis=1)
            speed_mps = np.linalg.norm(np.gradient(feet, axis=0), axis=1) * JOINT_RATE_HZ
            phase = (motion.steps / 2 - late) % 1
            slid.append(speed_mps[(phase > 0.1) & (phase < 0.5)].mean())
        return float(np.mean(slid)) / (motion.travelled_m[-1] / 12.0)

    straight = Walk(person=PERSON, speed_mps=1.3, speed_variation=0.0)
    assert sliding(FREE) < 1.1 * sliding(straight)


def test_the_torso_line_of_a_free_route_follows_the_closing_speed():
    recording = record_walk(FREE, Measurement(radar=Radar()), 9.0, np.random.default_rng(5))
    image_db, doppler_hz, time_s = spectrogram(recording.iq, 8192, window=112, hop=64, looks=32)
    line_hz = doppler_hz[image_db.argmax(axis=0)]
    half_s = 0.125
    body_hz = [recording.truth_between(at - half_s, at + half_s).body_doppler_hz for at in time_s[1:-1]]
    assert np.ptp(body_hz) > 300
    # A quarter of a second holds half a step, within which the trunk itself is 20 % quicker or slower.
    assert np.median(np.abs(line_hz[1:-1] - body_hz)) <= doppler_hz[1] - doppler_hz[0]


def test_impossible_paths_are_refused():
    with pytest.raises(ValueError, match=r"length_m must be positive, got 0\.0"):
        draw_path(0.0, np.random.default_rng(0))
