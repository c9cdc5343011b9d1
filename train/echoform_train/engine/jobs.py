"""Jobs of several processes, as `accelerate launch` or MPI start them, and the verbs that cannot share one."""

from __future__ import annotations

import os

from echoform_train.engine.errors import UserError

_WORLD_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def check_can_share(verb: str) -> None:
    """Refuse a job of several processes for a verb that does not share its work: each would write the same files.

    Trainings, `distill` and `generate` share their work.

    Raises:
        UserError: If the environment says that this is one of several processes.
    """
    if verb.startswith("train ") or verb in ("distill", "generate"):
        return
    sizes = {name: os.environ.get(name, "") for name in _WORLD_SIZES}
    for name, size in sizes.items():
        if size.isdecimal() and len(size) < 10 and int(size) > 1:
            raise UserError(
                f"`echoform {verb}` works in one process, and this is one of {int(size)} ({name}); start it without "
                "a launcher; trainings, distill and generate share their work"
            )
