"""The body as a radar sees it: joints, and sixteen reflecting segments between them."""

from dataclasses import dataclass

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
"""Names of the joints, in the order of axis J of every `joints` array [T, J, 3]."""

JOINT_INDEX = {name: index for index, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Segment:
    """A reflecting ellipsoid between two joints; its long semi-axis is half of their distance."""

    name: str
    start: str
    """Joint at one end."""
    end: str
    """Joint at the other end."""
    semi_axis_m: float
    """Both semi-axes across the segment (Chen, The Micro-Doppler Effect in Radar, ch. 4)."""


def _segments_of_side(side: str) -> tuple[Segment, ...]:
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
    *_segments_of_side("right"),
    *_segments_of_side("left"),
)
"""The sixteen segments, in the order of axis S of every array per segment."""

SEGMENT_INDEX = {segment.name: index for index, segment in enumerate(SEGMENTS)}
