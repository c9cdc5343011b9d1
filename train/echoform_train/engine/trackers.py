"""The experiment tracker that a training reports to, besides its own log.jsonl."""

from __future__ import annotations

from accelerate.tracking import get_available_trackers

from echoform_train.engine.extras import missing_package


def tracker(report_to: str) -> str | None:
    """Name of the tracker for accelerate, or None to use none.

    Args:
        report_to: The flag --report-to: the name of a tracker, "none", or "auto" for tensorboard if it is installed.

    Raises:
        MissingPackageError: If the named tracker is not installed; accelerate alone would leave it out silently.
    """
    if report_to == "none":
        return None
    installed = {str(name.value) for name in get_available_trackers()}
    if report_to == "auto":
        return "tensorboard" if "tensorboard" in installed else None
    if report_to not in installed:
        requirement = '"echoform[tensorboard]"' if report_to == "tensorboard" else report_to
        raise missing_package(report_to, f"--report-to {report_to}", requirement)
    return report_to
