"""One simulated person: lengths of the body and traits of the gait, drawn at random, with or without a load."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import SEGMENT_INDEX, SEGMENTS
from echoform_train.radar.loads import CONDITIONS, LOADS, Load, draw_loads

MEAN_SPEED_MPS = 1.28
SPEED_SPREAD_MPS = 0.11
"""Mean and standard deviation of preferred walking speeds of adults."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Body and gait of one person. The defaults are the average walker of Boulic et al. (1990); factors multiply it."""

    height_m: float = 1.75
    speed_mps: float = 1.3
    """Preferred walking speed."""
    cadence_factor: float = 1.0
    """Cadence over that of the model at this speed and leg length; the stride is shorter by this factor."""
    torso_factor: float = 1.0
    thigh_factor: float = 1.0
    shank_factor: float = 1.0
    foot_factor: float = 1.0
    upper_arm_factor: float = 1.0
    forearm_factor: float = 1.0
    shoulder_factor: float = 1.0
    hip_breadth_factor: float = 1.0
    right_arm_swing: float = 1.0
    left_arm_swing: float = 1.0
    """Factor of the range of motion of shoulder and elbow; 0 is an arm that does not move."""
    hip_amplitude: float = 1.0
    knee_amplitude: float = 1.0
    asymmetry: float = 0.0
    """Share by which the right leg's flexion exceeds the mean of both; the left leg falls short by as much."""
    left_phase: float = 0.5
    """Phase of the right leg's cycle, 0..1, at which the left foot strikes; 0.5 is even steps."""
    planted: bool = False
    """Move the trunk so that the foot on the ground stays where it is. The published model moves it the other way, so
    that the torso is fastest in mid-swing; measured walkers are slowest then."""
    torso_sway: float = 1.0
    """Factor of the trunk's own translation and rotation."""
    lean_deg: float = 0.0
    """Constant forward lean of the trunk, degrees."""
    left_arm_raise_deg: float = 0.0
    """Added forward angle of the left upper arm."""
    left_elbow_deg: float | None = None
    """Fixed flexion of the left elbow; None lets it swing."""
    gain_db: tuple[float, ...] = (0.0,) * len(SEGMENTS)
    """Gain of each segment's echo over that of its bare ellipsoid, in the order of SEGMENTS: build, clothes, shoes."""
    back_gain_db: float = 0.0
    """Gain of the torso's echo from straight behind over that from the front."""
    loads: Mapping[str, Load] = field(default_factory=lambda: LOADS)
    """Response of this person to each of CONDITIONS."""

    def __post_init__(self) -> None:
        if len(self.gain_db) != len(SEGMENTS):
            raise UserError(f"gain_db must hold {len(SEGMENTS)} values, one per segment, got {len(self.gain_db)}")
        for trait in fields(self):
            value = getattr(self, trait.name)
            if trait.name.endswith(("_m", "_mps", "_factor")) and not value > 0:
                raise UserError(f"{trait.name} must be positive, got {value}")

    # Lengths in metres; the constants are shares of the body height (Boulic et al. 1990).
    @property
    def thigh_m(self) -> float:
        """Hip to knee."""
        return 0.245 * self.height_m * self.thigh_factor

    @property
    def shank_m(self) -> float:
        """Knee to ankle."""
        return 0.246 * self.height_m * self.shank_factor

    @property
    def leg_m(self) -> float:
        """Thigh and shank together: H_t, the length by which Boulic et al. normalise speed."""
        return self.thigh_m + self.shank_m

    @property
    def foot_m(self) -> float:
        """Ankle to toe."""
        return 0.143 * self.height_m * self.foot_factor

    @property
    def upper_arm_m(self) -> float:
        """Shoulder to elbow."""
        return 0.188 * self.height_m * self.upper_arm_factor

    @property
    def forearm_m(self) -> float:
        """Elbow to hand."""
        return 0.152 * self.height_m * self.forearm_factor

    @property
    def torso_m(self) -> float:
        """Pelvis to neck."""
        return 0.288 * self.height_m * self.torso_factor

    @property
    def head_m(self) -> float:
        """Neck to crown."""
        return 0.130 * self.height_m

    @property
    def half_shoulder_m(self) -> float:
        """Neck to shoulder."""
        return 0.259 / 2 * self.height_m * self.shoulder_factor

    @property
    def half_hip_m(self) -> float:
        """Pelvis to hip."""
        return 0.191 / 2 * self.height_m * self.hip_breadth_factor

    @property
    def ankle_height_m(self) -> float:
        """Floor to ankle (Drillis and Contini 1966)."""
        return 0.039 * self.height_m


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person.

    Height and preferred speed spread as in adults. The other traits spread as in healthy gait, little enough that no
    single one tells two people apart.
    """

    def near_one(deviation: float) -> float:
        return float(np.exp(rng.normal(0.0, deviation)))

    def within(mean: float, deviation: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, deviation), low, high))

    # The order of the draws is fixed, so that a seed always gives the same person. Both arms share most of their swing.
    arm_swing = near_one(0.20)
    gain_db = _draw_gain_db(rng)
    return Person(
        height_m=within(1.73, 0.09, 1.50, 1.95),
        speed_mps=within(MEAN_SPEED_MPS, SPEED_SPREAD_MPS, 1.0, 1.55),
        cadence_factor=near_one(0.03),
        torso_factor=near_one(0.02),
        thigh_factor=near_one(0.02),
        shank_factor=near_one(0.02),
        foot_factor=near_one(0.02),
        upper_arm_factor=near_one(0.02),
        forearm_factor=near_one(0.02),
        shoulder_factor=near_one(0.04),
        hip_breadth_factor=near_one(0.04),
        right_arm_swing=arm_swing * near_one(0.12),
        left_arm_swing=arm_swing * near_one(0.12),
        hip_amplitude=within(1.0, 0.05, 0.88, 1.12),
        knee_amplitude=within(1.0, 0.07, 0.85, 1.15),
        asymmetry=within(0.0, 0.03, -0.08, 0.08),
        left_phase=within(0.5, 0.012, 0.47, 0.53),
        torso_sway=near_one(0.25),
        lean_deg=within(2.0, 2.0, -2.0, 7.0),
        gain_db=gain_db,
        loads=draw_loads(rng),
    )


def carrying(person: Person, condition: str) -> Person:
    """The same person with a load, changed by the person's own response to it (`Person.loads`).

    A backpack leans the trunk forward, damps arms and trunk, shortens the steps, and adds to the torso's echo, most
    from behind. A bag stills the right arm and adds to the forearm's echo; a phone holds the left arm up and still.

    Raises:
        ValueError: If the condition is not one of CONDITIONS.
    """
    if condition not in CONDITIONS:
        raise UserError(f"condition must be one of {', '.join(CONDITIONS)}, got {condition}")
    load = person.loads[condition]
    gain_db = np.array(person.gain_db)
    for name, added_db in load.gain_db:
        gain_db[SEGMENT_INDEX[name]] += added_db
    return replace(
        person,
        lean_deg=person.lean_deg + load.lean_deg,
        speed_mps=person.speed_mps * load.speed_factor,
        cadence_factor=person.cadence_factor * load.cadence_factor,
        right_arm_swing=person.right_arm_swing * load.right_arm_swing,
        left_arm_swing=person.left_arm_swing * load.left_arm_swing,
        left_arm_raise_deg=person.left_arm_raise_deg + load.left_arm_raise_deg,
        left_elbow_deg=person.left_elbow_deg if load.left_elbow_deg is None else load.left_elbow_deg,
        torso_sway=person.torso_sway * load.torso_sway,
        hip_amplitude=person.hip_amplitude * load.hip_amplitude,
        gain_db=tuple(gain_db.tolist()),
        back_gain_db=person.back_gain_db + load.back_gain_db,
    )


def _draw_gain_db(rng: np.random.Generator) -> tuple[float, ...]:
    """Gains of all segments; those of a left and a right limb are alike, as build and clothes are, but not equal."""
    gain_db = {segment.name: rng.normal(0.0, 0.7) for segment in SEGMENTS}
    for segment in SEGMENTS:
        limb = segment.name.removeprefix("right_")
        if limb != segment.name:
            shared_db = rng.normal(0.0, 1.4)
            gain_db[f"right_{limb}"] += shared_db
            gain_db[f"left_{limb}"] += shared_db
    return tuple(gain_db[segment.name] for segment in SEGMENTS)
