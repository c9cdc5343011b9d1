"""Types of the entry "data" of facts.json, the file that every training writes beside its model."""

from __future__ import annotations

from typing import TypedDict


class DataFacts(TypedDict):
    """Facts of every data set that a model was trained on."""

    source: str
    """Folder, or Hub id."""
    resolution: int | str
    """Height and width of the images that the model sees, pixels; of spectrograms that are not square, a text such as
    "64x128", height x width."""
    images: dict[str, int]
    """Number of images for train, validation and test."""
    split: str
    """Method of the split, such as "by recording"."""
    split_sha256: str
    """Hash of the names of the images of each side; later stages and scores must have the same."""
    images_sha256: str
    """Hash of the names and the content of all image files of the source."""


class ImageFacts(DataFacts):
    """Facts of a folder of grey or RGB images."""

    channels: int
    """Channels of the images that the model sees, 1 or 3."""


class SpectrogramFacts(ImageFacts):
    """Facts of a data set of spectrograms; stages of one pipeline must agree in them."""

    colormap: str | None
    """Colour map whose indices the model sees; None for RGB."""
    colormap_residual: float
    """Mean distance of the images from the (nearest) colour map, RGB units of 0..255."""
    reading: str
    """How files were read, if not as they are: the box of the data in pictures, the scale of numbers ..."""
    users: list[str]
    """Labels of the users in the order of their class ids."""
    conditions: dict[str, list[str]]
    """Labels of each condition in the order of their ids."""
    images_per_user: dict[str, int]
    """Number of training images of each user, by label."""


class DepthFacts(DataFacts):
    """Facts of a data set of depth images."""

    depth_range_mm: dict[str, float]
    """{"min": ..., "max": ...} of the model."""
    units_per_mm: float
    """The sensor's units per millimetre."""
    invalid_values: dict[str, str]
    """Sensor values that mean no reading, with their meaning."""
    float_unit: str | None
    """Unit of floating-point files; None: there are none."""
    encoding: str
    """How whole numbers stand for units."""
    resize_rule: str
    """Which resized pixels have a reading."""
    classes: list[str]
    """Labels of the classes in the order of their ids; empty if there are none."""
    share_with_reading: float
    """Share of the training pixels that have a reading, 0..1."""
