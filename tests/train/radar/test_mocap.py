from pathlib import Path

import numpy as np
import pytest

from echoform_train.radar.body import JOINT_INDEX, JOINTS, SEGMENTS
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.mocap import (
    CMU_NAMES,
    Capture,
    body_joints,
    cadence_hz,
    read_capture,
    record_capture,
    turn_to_x,
)
from echoform_train.radar.person import Person
from echoform_train.radar.recordings import Measurement, record
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar
from echoform_train.radar.stft import spectrogram
from echoform_train.radar.walks import Walk, walk_motion

PERSON = Person(height_m=1.72)
SPEED_MPS = 1.3
UNUSED = ("root", "lowerback", "thorax", "lfingers")


def walked(rate_hz: float, seconds: float = 4.0) -> np.ndarray:
    time_s = np.arange(0, seconds + 1e-9, 1 / rate_hz)
    cycle_s = gait_timing(PERSON, SPEED_MPS).cycle_s
    return walking_joints(PERSON, SPEED_MPS, time_s / cycle_s, SPEED_MPS * time_s)


def capture(joints: np.ndarray, heading_deg: float = 70.0, up: int = 1) -> Capture:
    """Joints of ours as a studio would have them: turned on the floor, beside its middle, y up as CMU has it."""
    angle = np.radians(heading_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    held = joints @ turn.T + np.array([0.7, -1.9, 0.1])
    other = np.repeat(held[:, :1], len(UNUSED), axis=1)
    mapped = np.stack([held[:, JOINT_INDEX[name]] for name in CMU_NAMES], axis=1)
    return Capture(
        joints=np.roll(np.concatenate([other, mapped], axis=1), up - 2, axis=-1),
        names=(*UNUSED, *CMU_NAMES.values()),
        fps=120.0,
    )


def test_every_joint_but_the_pelvis_has_its_bone_of_the_cmu_skeleton():
    assert {*CMU_NAMES, "pelvis"} == set(JOINTS)
    assert CMU_NAMES["left_knee"] == "lfemur"


@pytest.mark.parametrize("up", [0, 1, 2])
@pytest.mark.parametrize("heading_deg", [0.0, 70.0, -160.0])
def test_a_walk_comes_back_whatever_the_studios_axes(up, heading_deg):
    joints = turn_to_x(body_joints(capture(walked(120), heading_deg, up)))
    expected = walked(JOINT_RATE_HZ)[: len(joints)].copy()
    pelvis = expected[:, JOINT_INDEX["pelvis"]]
    expected[..., 0] -= (pelvis[0, 0] + pelvis[-1, 0]) / 2
    inner = slice(20, -20)  # the filter has no past at the ends
    ahead_m = joints[inner] - expected[inner]
    ahead_m[..., 2] -= ahead_m[..., 2].mean()
    assert np.abs(ahead_m[..., 0]).max() < 0.02
    assert np.abs(ahead_m[..., 1]).max() < 0.04  # the pelvis swings aside, so start and end do not lie on one line
    assert np.abs(ahead_m[..., 2]).max() < 0.02
    left, right = (joints[:, JOINT_INDEX[f"{side}_shoulder"], 1].mean() for side in ("left", "right"))
    assert left - right == pytest.approx(0.259 * 1.72, rel=0.03)


def test_our_own_walk_exported_at_120_fps_gives_the_spectrogram_that_it_has():
    radar = Radar(noise_figure_db=0.0, phase_noise_rad=0.0)
    walk = Walk(person=PERSON, speed_mps=SPEED_MPS, speed_variation=0.0)
    direct = record(
        walk_motion(walk, 4.0, np.random.default_rng(0)),
        np.zeros(len(SEGMENTS)),
        Measurement(radar=radar),
        np.random.default_rng(0),
        clutter_db=-80.0,
    )
    joints = turn_to_x(body_joints(capture(walked(120))))
    captured = record_capture(joints, "towards", 0.0, Measurement(radar=radar), np.random.default_rng(0))
    images = []
    for recording in (direct, captured):
        image_db, doppler_hz, _ = spectrogram(
            recording.iq, 8192, window=112, hop=64, looks=6, centre_hz=recording.truth.body_doppler_hz, span_hz=2304
        )
        images.append(np.clip(image_db, -38, -4)[:, 4:-4])
    assert np.abs(images[0] - images[1]).mean() < 1.0  # of 34 dB
    assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.98
    rows = np.abs(doppler_hz) < 2000  # the torso's line and how far the feet reach are the same
    assert np.abs(images[0][rows].mean(axis=1).argmax() - images[1][rows].mean(axis=1).argmax()) <= 1
    reach = [np.flatnonzero((image > -36).any(axis=1)).max() for image in images]
    assert abs(reach[0] - reach[1]) <= 1


def test_cadence_is_measured_from_the_ankles():
    joints = turn_to_x(body_joints(capture(walked(120))))
    assert cadence_hz(joints) == pytest.approx(gait_timing(PERSON, SPEED_MPS).cadence_hz, rel=0.01)
    with pytest.raises(ValueError, match="the ankles must pass each other at least 3 times to show a cadence, got 1"):
        cadence_hz(joints[:200])


def test_what_is_no_walk_of_a_known_skeleton_is_refused():
    good = capture(walked(120))
    nameless = Capture(joints=good.joints, names=("a",) * len(good.names), fps=120.0)
    with pytest.raises(ValueError, match=r"must name the joints of CMU's skeleton, lowerneck, head, .* are missing"):
        body_joints(nameless)
    with pytest.raises(ValueError, match=r"the head must stand above the feet along the axis that points up \(x\)"):
        body_joints(good, "x")
    upside_down = Capture(joints=-good.joints, names=good.names, fps=120.0)
    with pytest.raises(ValueError, match="the head must stand above the feet"):
        body_joints(upside_down)
    on_the_spot = body_joints(good)
    on_the_spot[..., :2] -= on_the_spot[:, :1, :2]
    with pytest.raises(ValueError, match=r"a captured walk must end 0\.5 m or more from its start, got 0\.00 m"):
        turn_to_x(on_the_spot)
    there_and_back = body_joints(good)
    there_and_back = np.concatenate([there_and_back, there_and_back[:300:-1]])
    with pytest.raises(ValueError, match="a captured walk must go straight, it ends"):
        turn_to_x(there_and_back)


def test_files_are_read_or_named(tmp_path: Path):
    good = capture(walked(120, 1.0))
    path = tmp_path / "07_01.npz"
    np.savez(path, joints=good.joints.astype(np.float32), names=np.array(good.names), parents=np.zeros(20), fps=120)
    held = read_capture(path)
    np.testing.assert_allclose(held.joints, good.joints, atol=1e-6)
    assert (held.names, held.fps) == (good.names, 120.0)
    np.savez(path, joints=good.joints, fps=120)
    with pytest.raises(ValueError, match=r"07_01\.npz must hold joints, names and fps, it lacks names"):
        read_capture(path)
    np.savez(path, joints=good.joints[:, :5], names=np.array(good.names), fps=120)
    with pytest.raises(ValueError, match=r"must be \[T, 20, 3\] as it names 20, got \(121, 5, 3\)"):
        read_capture(path)
    np.savez(path, joints=good.joints, names=np.array(good.names), fps=0)
    with pytest.raises(ValueError, match=r"fps of .* must be in 30\.\.1000 to hold a gait, got 0"):
        read_capture(path)
    np.savez(path, joints=np.where(good.joints > 1, np.nan, good.joints), names=np.array(good.names), fps=120)
    with pytest.raises(ValueError, match="must be finite numbers"):
        read_capture(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"07_01\.npz must be an \.npz file"):
        read_capture(path)
