"""A walking person: lengths of the body, its sixteen reflecting segments, and the traits that tell people apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

JOINTS = (
    "pelvis",
    "neck",
    "head",
    "right_shoulder",
    "right_elbow",
    "right_hand",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_toe",
    "left_shoulder",
    "left_elbow",
    "left_hand",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_toe",
)
"""Names along the joint axis of every `joints` array [T, J, 3]."""

JOINT_INDEX = {name: index for index, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Segment:
    """One reflecting ellipsoid between two joints; its long semi-axis is half of their distance."""

    name: str
    start: str
    end: str
    semi_axis_m: float
    """Both semi-axes across the segment, metres (Chen, The Micro-Doppler Effect in Radar, ch. 4)."""


def _sided(side: str) -> tuple[Segment, ...]:
    return (
        Segment(f"{side}_shoulder", "neck", f"{side}_shoulder", 0.06),
        Segment(f"{side}_upper_arm", f"{side}_shoulder", f"{side}_elbow", 0.06),
        Segment(f"{side}_forearm", f"{side}_elbow", f"{side}_hand", 0.05),
        Segment(f"{side}_hip", "pelvis", f"{side}_hip", 0.07),
        Segment(f"{side}_thigh", f"{side}_hip", f"{side}_knee", 0.07),
        Segment(f"{side}_shank", f"{side}_knee", f"{side}_ankle", 0.06),
        Segment(f"{side}_foot", f"{side}_ankle", f"{side}_toe", 0.05),
    )


SEGMENTS = (
    Segment("head", "neck", "head", 0.10),
    Segment("torso", "pelvis", "neck", 0.15),
    *_sided("right"),
    *_sided("left"),
)
"""The sixteen scatterers, in the order of every array with a segment axis."""

SEGMENT_INDEX = {segment.name: index for index, segment in enumerate(SEGMENTS)}

CONDITIONS = ("normal", "backpack", "bag", "bag_phone")
"""What a person may carry: nothing, a backpack, a bag in the right hand, or such a bag and a phone in the left hand."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What carrying something changes in a person's walk; the defaults change nothing, factors multiply."""

    lean_deg: float = 0.0
    """Added forward lean of the trunk."""
    speed_factor: float = 1.0
    cadence_factor: float = 1.0
    right_arm_swing: float = 1.0
    left_arm_swing: float = 1.0
    left_arm_raise_deg: float = 0.0
    """By how much the left upper arm is held forward."""
    left_elbow_deg: float | None = None
    """Flexion at which the left elbow is held; None lets it swing."""
    torso_sway: float = 1.0
    hip_amplitude: float = 1.0
    gain_db: tuple[tuple[str, float], ...] = ()
    """Segments and by how much they return more."""
    back_gain_db: float = 0.0
    """By how much the torso returns more when it is seen from behind."""

    def __post_init__(self) -> None:
        for name, _ in self.gain_db:
            if name not in SEGMENT_INDEX:
                raise ValueError(f"gain_db must name segments ({', '.join(SEGMENT_INDEX)}), got {name}")


LOADS = {
    "normal": Load(),
    # Under a load the trunk leans forward and turns less, and steps are shorter and quicker (LaFiandra et al., Journal
    # of Biomechanics 36 (2003) 87-95); straps hold the arms back. The body hides most of the pack from the front. How
    # much is set so that a judge trained without backpacks names about three quarters of the people with one.
    "backpack": Load(
        lean_deg=5.0,
        speed_factor=0.98,
        cadence_factor=1.01,
        right_arm_swing=0.82,
        left_arm_swing=0.82,
        torso_sway=0.9,
        gain_db=(("torso", 0.5),),
        back_gain_db=2.0,
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
"""What each of CONDITIONS changes in the average person."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person; the defaults are Boulic's average walker. Factors multiply the average, 1 leaves it."""

    height_m: float = 1.75
    speed_mps: float = 1.3
    """Preferred walking speed."""
    cadence_factor: float = 1.0
    """Cadence relative to what the model expects at this speed and leg length; the stride is shorter by as much."""
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
    """Range of shoulder and elbow motion; 0 is a frozen arm."""
    hip_amplitude: float = 1.0
    knee_amplitude: float = 1.0
    asymmetry: float = 0.0
    """Share by which the right leg's flexion exceeds the mean of both legs, and the left's falls short of it."""
    left_phase: float = 0.5
    """Where in the right leg's cycle the left foot strikes; 0.5 is even steps."""
    torso_sway: float = 1.0
    """Size of the trunk's own translation and rotation."""
    lean_deg: float = 0.0
    """Constant forward lean of the trunk."""
    left_arm_raise_deg: float = 0.0
    """By how much the left upper arm is held forward."""
    left_elbow_deg: float | None = None
    """Flexion at which the left elbow is held; None lets it swing."""
    gain_db: tuple[float, ...] = (0.0,) * len(SEGMENTS)
    """Return of each segment relative to its bare ellipsoid, in the order of SEGMENTS: build, clothes, shoes."""
    back_gain_db: float = 0.0
    """By how much the torso returns more from behind than from the front."""
    loads: Mapping[str, Load] = field(default_factory=lambda: LOADS)
    """How this person responds to each of CONDITIONS."""

    def __post_init__(self) -> None:
        if len(self.gain_db) != len(SEGMENTS):
            raise ValueError(f"gain_db must hold {len(SEGMENTS)} values, one a segment, got {len(self.gain_db)}")
        for trait in fields(self):
            value = getattr(self, trait.name)
            if trait.name.endswith(("_m", "_mps", "_factor")) and not value > 0:
                raise ValueError(f"{trait.name} must be positive, got {value}")

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
        """Thigh and shank together: the length by which Boulic normalises speed, H_t."""
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
        """Elbow to the hand."""
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
    """A person with traits of their own.

    Height and preferred speed spread as in adults; the other spreads are what healthy gait shows between people,
    and are kept so small that a classifier needs the whole pattern to tell two people apart.
    """

    def near_one(deviation: float) -> float:
        return float(np.exp(rng.normal(0.0, deviation)))

    def within(mean: float, deviation: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, deviation), low, high))

    arm_swing = near_one(0.20)
    gain_db = {segment.name: rng.normal(0.0, 0.7) for segment in SEGMENTS}
    for segment in SEGMENTS:
        pair = segment.name.removeprefix("right_")
        if pair != segment.name:  # clothes and build are alike on both sides, not equal
            shared_db = rng.normal(0.0, 1.4)
            gain_db[f"right_{pair}"] += shared_db
            gain_db[f"left_{pair}"] += shared_db
    return Person(
        height_m=within(1.73, 0.09, 1.50, 1.95),
        speed_mps=within(1.28, 0.11, 1.0, 1.55),
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
        gain_db=tuple(gain_db[segment.name] for segment in SEGMENTS),
        loads=draw_loads(rng),
    )


def draw_loads(rng: np.random.Generator) -> dict[str, Load]:
    """How one person responds to what they carry, about the average response."""

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


def carrying(person: Person, condition: str) -> Person:
    """The same person with something in hand or on the back, as their own response to it (`Person.loads`) says.

    A backpack leans the trunk forward, damps arms and trunk, shortens the steps, and reflects with the torso, most
    from behind. A bag freezes the right arm and reflects with the forearm; a phone holds the left arm up and still.

    Raises:
        ValueError: If the condition is not one of CONDITIONS.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, got {condition}")
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
