"""Settings of `echoform simulate`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import Resolution, sides_of
from echoform_train.radar.fmcw import Chirp
from echoform_train.radar.loads import CONDITIONS
from echoform_train.radar.mocap import UpAxis
from echoform_train.radar.population import Population
from echoform_train.radar.receiver import Receiver
from echoform_train.radar.recordings import Measurement
from echoform_train.radar.returns import Radar
from echoform_train.radar.scatterers import Surface
from echoform_train.radar.spectrogram_images import SpectrogramGrid, image_axes, view_grid
from echoform_train.radar.stft import LOOKS
from echoform_train.radar.view import View
from echoform_train.radar.walks import Route

CARRIERS_GHZ = (77, 60, 24)
DB_MIN = -38.0
DB_MAX = -4.0
"""Fixed range of the colours, decibels over one square metre at the body's range."""
LOOKS_OF_SCATTERERS, RANGE_CELL_M, TRANSFORM_MS = 1, 0.3, 25.0
"""How the echoes of many scatterers are drawn by default: one look of range cells of a sweep over 0.5 GHz."""
SLOWEST_STEPS_HZ = 1.2
"""Slowest cadence of a simulated walker, which makes the longest image of a number of steps."""
LONGEST_RECORDING_S = 30.0
LONGEST_FMCW_RECORDING_S = 15.0
"""A straight walk of at most this length stays within 32 m, where the ranges of the FMCW mode fold."""


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Simulate people who walk in front of a radar, and write their spectrograms."""

    output_dir: Annotated[Path, tyro.conf.Positional]
    """New or empty folder for ID_1, ID_2, ..., metadata.jsonl and axes.json."""
    users: int = 8
    """Number of simulated people."""
    recordings_per_user: int = 10
    """Walks per simulated person; directions alternate, conditions change every two walks. 15 walks of
    12 s give 150 images."""
    recording_s: float = 12.0
    """Length of a walk in seconds, at most 30."""
    window_s: float = 3.0
    """Length of an image in seconds."""
    hop_s: float = 1.0
    """Seconds from the start of one image to the next."""
    resolution: Resolution = 256
    """Height and width of an image, in pixels: 64, or 64x128 for height 64 (Doppler) and width 128 (time)."""
    carrier_ghz: int = 77
    """Carrier frequency: 77, 60 or 24."""
    mode: Literal["cw", "fmcw"] = "cw"
    """cw: continuous wave. fmcw: chirps; the range bins around the walker are summed (takes 300 ms per image)."""
    body: Literal["scatterers", "ellipsoids"] = "scatterers"
    """scatterers: some hundred points on the visible side of the segments, whose echoes interfere to speckle, as
    measured walkers show. ellipsoids: sixteen points, one per segment: thin smooth lines, drawn with six looks, no
    range cells and short transforms."""
    receiver: Annotated[Receiver, tyro.conf.arg(name="")] = field(default_factory=Receiver)
    surface: Annotated[Surface, tyro.conf.arg(name="")] = field(default_factory=Surface)
    view: Annotated[View, tyro.conf.arg(name="")] = field(default_factory=View)
    population: Annotated[Population, tyro.conf.arg(name="")] = field(default_factory=Population)
    conditions: tuple[str, ...] = ("normal",)
    """What people carry: any of normal, backpack, bag, bag_phone."""
    route: Route = "straight"
    """straight: towards the radar and away from it. free: a route with turns in front of it. hall: to and fro in front
    of it, with a turn at each end."""
    joints: Path | None = None
    """Folder of motion captures to use instead of simulated walks: <subject>_<trial>.npz with joints [T, J, 3] in
    metres, names [J] and fps."""
    joints_up: UpAxis = "auto"
    """Axis of the captures that points up; auto takes the one along which the head is above the feet."""
    save_db: bool = False
    """Also write the decibels of each image on their native grid: `.npy`, float32 [F, W], Doppler ascending."""
    seed: int = 0
    """Seed; the same seed gives the same files, whatever the number of workers."""
    workers: int = 0
    """Number of processes; 0 takes one per core."""

    def __post_init__(self) -> None:
        for name in ("users", "recordings_per_user"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.carrier_ghz not in CARRIERS_GHZ:
            raise UserError(f"--carrier-ghz must be 77, 60 or 24, got {self.carrier_ghz}")
        if self.joints is None:
            self._check_walks()
        else:
            self._check_captures()
        if not 0.5 <= self.window_s <= LONGEST_RECORDING_S:
            raise UserError(f"--window-s must be in 0.5..{LONGEST_RECORDING_S:g}, got {self.window_s}")
        if self.hop_s < 0.1:
            raise UserError(f"--hop-s must be at least 0.1, got {self.hop_s}")
        if not all(16 <= side <= 1024 for side in sides_of(self.resolution)):
            raise UserError(f"--resolution must be in 16..1024, got {self.resolution}")
        if self.body == "ellipsoids" and self.surface != Surface():
            raise UserError("--specular-share, --cloth-s and --hidden-db must go with --body scatterers")
        if self.mode == "fmcw" and self.receiver.range_cell_m:
            raise UserError("--range-cell-m must go with --mode cw; the FMCW mode has the range bins of its chirp")
        if self.workers < 0:
            raise UserError(f"--workers must not be negative, got {self.workers}")
        if self.seed < 0:
            raise UserError(f"--seed must not be negative, got {self.seed}")

    def _check_walks(self) -> None:
        if not self.conditions or len(set(self.conditions)) != len(self.conditions):
            raise UserError(f"--conditions must be one or more, none twice, got {self.conditions}")
        for condition in self.conditions:
            if condition not in CONDITIONS:
                raise UserError(f"--conditions must be of {', '.join(CONDITIONS)}, got {condition}")
        if self.recordings_per_user < 2 * len(self.conditions) and len(self.conditions) > 1:
            raise UserError(
                f"--recordings-per-user must be at least {2 * len(self.conditions)}, both directions of each "
                f"condition, got {self.recordings_per_user}"
            )
        if not self.window_s <= self.recording_s <= LONGEST_RECORDING_S:
            raise UserError(
                f"--window-s <= --recording-s <= {LONGEST_RECORDING_S} must hold, "
                f"got {self.window_s} and {self.recording_s}"
            )
        if self.mode == "fmcw" and self.route == "straight" and self.recording_s > LONGEST_FMCW_RECORDING_S:
            raise UserError(
                f"--recording-s of straight walks must be at most {LONGEST_FMCW_RECORDING_S:g} in the FMCW mode, whose "
                f"ranges fold at 32 m, got {self.recording_s}"
            )

    def _check_captures(self) -> None:
        for name in ("users", "recordings_per_user", "recording_s", "conditions", "route"):
            if getattr(self, name) != getattr(type(self), name):
                raise UserError(
                    f"--{name.replace('_', '-')} must not be given with --joints, as the motion captures set it"
                )

    @property
    def radar(self) -> Radar:
        """The radar; each recording draws its own noise figure."""
        return Radar(carrier_hz=self.carrier_ghz * 1e9)

    @property
    def measurement(self) -> Measurement:
        """How bodies become samples."""
        return Measurement(
            radar=self.radar,
            chirp=Chirp() if self.mode == "fmcw" else None,
            surface=self.surface if self.body == "scatterers" else None,
            receiver=self.body_receiver,
        )

    @property
    def body_receiver(self) -> Receiver:
        """The receiver, with looks and range cells that suit the body where they were not given."""
        speckled = self.body == "scatterers"
        looks = self.receiver.looks or (LOOKS_OF_SCATTERERS if speckled else LOOKS)
        cell_m = self.receiver.range_cell_m
        if cell_m is None:
            cell_m = RANGE_CELL_M if speckled and self.mode == "cw" else 0.0
        return replace(self.receiver, looks=looks, range_cell_m=cell_m)

    @property
    def body_view(self) -> View:
        """The view, with a transform that suits the body where none was given."""
        if self.body == "ellipsoids" or self.view.transform_ms is not None:
            return self.view
        return replace(self.view, transform_ms=TRANSFORM_MS)

    @property
    def grid(self) -> SpectrogramGrid:
        """How recordings are cut into windows."""
        radar = self.radar
        return view_grid(
            self.body_view,
            radar.carrier_hz,
            radar.pulse_rate_hz,
            window_s=self.window_s,
            hop_s=self.hop_s,
            looks=self.body_receiver.looks or LOOKS,
        )

    @property
    def axes(self) -> dict[str, float]:
        """Extent of every image in seconds, hertz and decibels, and its native grid, as axes.json holds them."""
        shown_db = self.receiver.shown_db
        # A range below the strongest cell of each image is relative to that cell.
        db_min, db_max = (DB_MIN, DB_MAX) if shown_db is None else (-shown_db, 0.0)
        axes = image_axes(self.grid, db_min=db_min, db_max=db_max)
        if self.view.window_steps is not None:
            # Images of one width show different times then; each row of metadata.jsonl says how long its own is.
            axes = {name: value for name, value in axes.items() if name not in ("window_s", "hop_s", "native_columns")}
        return axes

    @property
    def shown_s(self) -> float:
        """Seconds of samples that an image needs: its window, or more if the last transform extends beyond it."""
        grid = self.grid
        longest_s = self.window_s if self.view.window_steps is None else self.view.window_steps / SLOWEST_STEPS_HZ
        return max(longest_s, longest_s - grid.window_s + grid.samples / grid.pulse_rate_hz)
