"""The trained weights that are shipped inside the package: exported folders, loaded as any others."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).with_name("weights")
"""Folder of the shipped models, one subfolder per name."""

NAMES = {
    "walkers": "spectrograms of simulated people, a VQLDMDopplerPipeline",
    "rooms": "depth images of simulated rooms to 768 numbers and back, a DepthAutoencoderPipeline",
    "classifier": "tells which of these simulated people walks, a SpectrogramClassifier of transformers",
}
"""Every model that may be shipped, in words."""

_ENTRY = ("model_index.json", "config.json")
"""Files of which one lies in every exported folder."""


def pretrained(name: str) -> str:
    """Folder of trained weights that lie inside the package; nothing is downloaded.

    Args:
        name: walkers, rooms or classifier, see `NAMES`.

    Returns:
        The folder, as `from_pretrained` and `transformers.pipeline` take it.

    Raises:
        ValueError: If there is no model of that name.
        FileNotFoundError: If this installation was built without its weights.
    """
    if name not in NAMES:
        raise ValueError(f"the name of shipped weights must be one of {', '.join(NAMES)}, got {name!r:.80}")
    if name not in shipped():
        others = f"; it has {', '.join(shipped())}" if shipped() else ""
        raise FileNotFoundError(f"this installation of echoform has no weights of {name}{others}")
    return str(WEIGHTS / name)


def shipped() -> list[str]:
    """Names of the models whose weights this installation has."""
    return [name for name in NAMES if any((WEIGHTS / name / file).is_file() for file in _ENTRY)]
