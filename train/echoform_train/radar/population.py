"""Who walks in a simulation: how fast people prefer to walk, and in which directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from echoform_train.engine.errors import UserError
from echoform_train.radar.person import MEAN_SPEED_MPS, SPEED_SPREAD_MPS, Person


@dataclass(frozen=True, kw_only=True)
class Population:
    """Walkers. The defaults are healthy adults who walk at their preferred speed."""

    walking_speed_mps: float = MEAN_SPEED_MPS
    """Mean of the preferred speeds of all people, m/s; adults indoors walk at 1.0 to 1.4."""
    speed_spread_mps: float = SPEED_SPREAD_MPS
    """Standard deviation of the preferred speed from person to person, m/s."""
    start_and_stop: bool = False
    """Walks begin and end at a standstill, as in a room; otherwise people walk all the time."""
    directions: tuple[Literal["towards", "away"], ...] = ("towards", "away")
    """Directions of straight walks, in turn."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.walking_speed_mps <= 1.9:
            raise UserError(f"--walking-speed-mps must be in 0.5..1.9, got {self.walking_speed_mps}")
        if not 0 <= self.speed_spread_mps <= 0.4:
            raise UserError(f"--speed-spread-mps must be in 0..0.4, got {self.speed_spread_mps}")
        if not self.directions or len(set(self.directions)) != len(self.directions):
            raise UserError(f"--directions must be towards, away or both, got {self.directions}")

    def of_this(self, person: Person) -> Person:
        """A person with the same place among the speeds of this population as among those of the default one."""
        place = (person.speed_mps - MEAN_SPEED_MPS) / SPEED_SPREAD_MPS
        speed_mps = self.walking_speed_mps + place * self.speed_spread_mps
        same = (self.walking_speed_mps, self.speed_spread_mps) == (MEAN_SPEED_MPS, SPEED_SPREAD_MPS)
        return person if same else replace(person, speed_mps=max(0.4, speed_mps))
