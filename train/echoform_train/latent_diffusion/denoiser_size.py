"""Which heights and widths of latents the levels and attention windows of a denoiser allow."""

from __future__ import annotations

from collections.abc import Sequence

from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import resolution_of, shown_size, sides_of
from echoform_train.latent_diffusion.first_stage import FirstStage, downsampling


def check_latent_sides(stage: FirstStage, levels: int) -> None:
    """Check that the levels of a denoiser can halve the latents of a first stage.

    Args:
        stage: The first stage.
        levels: Levels of the denoiser; all but the last halve their map.

    Raises:
        UserError: If a side of the latents cannot be halved so often; the message proposes a size of the images.
    """
    height, width = sides_of(stage.facts["data"]["resolution"])
    factor, divisor = downsampling(stage.model), 2 ** (levels - 1)
    sides = height // factor, width // factor
    if all(side and side % divisor == 0 for side in sides):
        return
    unit = factor * divisor
    proposed = resolution_of(*(max(1, round(side / unit)) * unit for side in (height, width)))
    raise UserError(
        f"{levels} levels of the denoiser need latents whose sides are multiples of {divisor}, those of "
        f"{stage.text} are {shown_size(*sides)}; give --block-out-channels and "
        f"--attention-types fewer levels, or train a first stage with --resolution {proposed}"
    )


def fitting_window(sides: tuple[int, int], attention_types: Sequence[str], largest: int) -> int:
    """Side of the largest attention windows, at most `largest`, that tile the map of each level that attends in them.

    Args:
        sides: Height and width of the latents.
        attention_types: Attention of each level; each level but the first has half the sides of the one before.
        largest: Largest side of a window; a smaller map is one window.
    """
    maps = [side >> level for level, kind in enumerate(attention_types) if kind == "window" for side in sides]
    return next(window for window in range(largest, 0, -1) if all(m <= window or m % window == 0 for m in maps))
