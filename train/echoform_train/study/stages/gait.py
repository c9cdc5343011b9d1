"""Stage: comparison of the gait in drawn images with that in held-out real images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.gait.findings import GaitFindings, UnreadableGait, gait_findings
from echoform_train.study.images.selection import SelectedImages
from echoform_train.study.stage_cache import FinishedStage, StageFacts

GAIT = "gait.json"


@dataclass(frozen=True, kw_only=True)
class GaitComparison:
    """Compare the gait of drawn images with that of held-out real ones."""

    data: SpectrogramData
    images: SelectedImages
    images_key: str
    """Key of the stage that selected the images."""
    seed: int
    name: str = "physics"

    def inputs(self) -> dict[str, Any]:
        """The images, the axes and the seed."""
        return {
            "real images": split_hashes(self.data),
            "generated images": self.images_key,
            "axes": self.data.axes,
            "seed": self.seed,
        }

    def make(self, folder: Path) -> StageFacts:
        """Write gait.json."""
        conditions = [row["conditions"] for row in self.images.rows]
        findings = gait_findings(self.data, self.images.drawn[0], self.images.kept, conditions, seed=self.seed)
        if isinstance(findings, UnreadableGait):
            write_json(folder / GAIT, {"why_not": findings.reason})
            return {"summary": f"not compared: {findings.reason}"}
        write_json(folder / GAIT, findings)
        drawn, real = (f"{100 * share:.1f} %" for share in (findings["generated"], findings["real"]))
        return {"summary": f"{drawn} of the drawn images can show a walker, {real} of the real ones"}


def read_gait(stage: FinishedStage[StageFacts]) -> GaitFindings | UnreadableGait:
    """Read the gait.json of the stage."""
    found = read_json_object(stage.folder / GAIT)
    return cast(GaitFindings, found) if found["why_not"] is None else UnreadableGait(found["why_not"])
