"""What people carry while they walk, and how it changes their gait and their echo."""

from dataclasses import dataclass, replace

import numpy as np

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import SEGMENT_INDEX

CONDITIONS = ("normal", "backpack", "bag", "bag_phone")
"""What a walker may carry: nothing, a backpack, a bag in the right hand, or that bag and a phone in the left hand."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How carrying something changes the walk of a person. Factors multiply; the defaults change nothing."""

    lean_deg: float = 0.0
    """Added forward lean of the trunk, degrees."""
    speed_factor: float = 1.0
    cadence_factor: float = 1.0
    right_arm_swing: float = 1.0
    """Factor of the range of motion of shoulder and elbow."""
    left_arm_swing: float = 1.0
    left_arm_raise_deg: float = 0.0
    """Added forward angle of the left upper arm."""
    left_elbow_deg: float | None = None
    """Fixed flexion of the left elbow; None lets it swing."""
    torso_sway: float = 1.0
    """Factor of the trunk's own translation and rotation."""
    hip_amplitude: float = 1.0
    """Factor of the flexion of the hips."""
    gain_db: tuple[tuple[str, float], ...] = ()
    """Names of segments, each with the gain that is added to its echo."""
    back_gain_db: float = 0.0
    """Gain added to the torso's echo when it is seen from straight behind."""

    def __post_init__(self) -> None:
        for name, _ in self.gain_db:
            if name not in SEGMENT_INDEX:
                raise UserError(f"gain_db must name segments ({', '.join(SEGMENT_INDEX)}), got {name}")


LOADS = {
    "normal": Load(),
    # Under a load the trunk leans forward and turns less, and steps are shorter and quicker (LaFiandra et al., Journal
    # of Biomechanics 36 (2003) 87-95); straps hold the arms back. From the front, the body hides most of the pack. With
    # these amounts, a classifier trained without backpacks names about three quarters of the users with one right.
    "backpack": Load(
        lean_deg=5.7,
        speed_factor=0.976,
        cadence_factor=1.012,
        right_arm_swing=0.79,
        left_arm_swing=0.79,
        torso_sway=0.865,
        gain_db=(("torso", 0.5),),
        back_gain_db=2.4,
    ),
    "bag": Load(right_arm_swing=0.1, gain_db=(("right_forearm", 5.0),)),
    "bag_phone": Load(
        right_arm_swing=0.1,
        left_arm_swing=0.05,
        left_arm_raise_deg=30.0,
        left_elbow_deg=120.0,
        gain_db=(("right_forearm", 5.0), ("left_forearm", 1.5)),
    ),
}
"""Change that each of CONDITIONS makes in the average person."""


def draw_loads(rng: np.random.Generator) -> dict[str, Load]:
    """Draw how one person responds to each of CONDITIONS, around the average response of LOADS."""

    def near(mean: float, deviation: float) -> float:
        return float(mean * np.exp(rng.normal(0.0, deviation)))

    pack = LOADS["backpack"]
    backpack = replace(
        pack,
        lean_deg=float(np.clip(rng.normal(pack.lean_deg, 2.0), 1.0, 12.0)),
        speed_factor=near(pack.speed_factor, 0.01),
        cadence_factor=near(pack.cadence_factor, 0.006),
        right_arm_swing=near(pack.right_arm_swing, 0.1),
        left_arm_swing=near(pack.left_arm_swing, 0.1),
        torso_sway=near(pack.torso_sway, 0.04),
        hip_amplitude=near(pack.hip_amplitude, 0.01),
        gain_db=(("torso", float(rng.normal(0.5, 0.5))),),
        back_gain_db=float(rng.normal(pack.back_gain_db, 0.7)),
    )
    # The bag is the same object with and without the phone, so both conditions share its effect on the right arm.
    heavy_db = float(rng.normal(5.0, 1.5))
    bag = replace(LOADS["bag"], right_arm_swing=near(0.1, 0.4), gain_db=(("right_forearm", heavy_db),))
    phone = LOADS["bag_phone"]
    bag_phone = replace(
        phone,
        right_arm_swing=bag.right_arm_swing,
        left_arm_raise_deg=float(rng.normal(phone.left_arm_raise_deg, 10.0)),
        left_elbow_deg=float(np.clip(rng.normal(120.0, 12.0), 90.0, 145.0)),
        gain_db=(*bag.gain_db, *phone.gain_db[1:]),
    )
    return {"normal": Load(), "backpack": backpack, "bag": bag, "bag_phone": bag_phone}
