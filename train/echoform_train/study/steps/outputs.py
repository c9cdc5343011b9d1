"""Steps from the plan to the results: stages are run, report and page are written, generator and data set go out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from echoform.hub import CARD
from echoform_train.data.config import data_facts
from echoform_train.data.publish import publish_dataset
from echoform_train.data.split_files import write_split
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import (
    CLASSIFIER,
    FACTS,
    MODEL_CONFIG,
    MODEL_INDEX,
    ONNX,
    REPORT_DATA,
    REPORT_PAGE,
    SPLIT,
)
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.publishing.card import write_card
from echoform_train.publishing.copy_model import copy_model
from echoform_train.publishing.identity import model_identity
from echoform_train.report.spectra import write_spectra
from echoform_train.study.plan import Study
from echoform_train.study.report_card import card_facts
from echoform_train.study.report_data import assemble_report
from echoform_train.study.report_page import write_page
from echoform_train.study.report_pictures import draw_pictures
from echoform_train.study.report_types import Report
from echoform_train.study.run import StudyResults, run_study
from echoform_train.study.steps.inputs import Planning
from echoform_train.study.steps.step import Step


@dataclass(frozen=True, kw_only=True)
class StageRuns(Step[StudyResults]):
    """Run the stages: trainings, selections, measurements and the data set; finished ones are skipped."""

    plan: Planning
    output_dir: Path
    """Folder of the study, to which the split is written."""
    stages: Path
    """Folder of the stages."""
    dataset: Path
    """Folder of the augmented data set."""

    def make(self) -> StudyResults:
        """The results of all stages."""
        study = self.plan.result
        write_split(study.data.split, self.output_dir / SPLIT)
        return run_study(study, self.stages, self.dataset)


@dataclass(frozen=True, kw_only=True)
class ReportFiles(Step[Report]):
    """Write report.json, and a page that is made from its content alone."""

    plan: Planning
    runs: StageRuns
    output_dir: Path

    def make(self) -> Report:
        """The content of report.json."""
        study, results = self.plan.result, self.runs.result
        report = assemble_report(study, results)
        write_json(self.output_dir / REPORT_DATA, report)
        kept = results.images[study.largest.name].sample
        write_page(report, draw_pictures(study.data, kept, report["suspicious"]), self.output_dir / REPORT_PAGE)
        return report


@dataclass(frozen=True, kw_only=True)
class GeneratorExport(Step[Path]):
    """Copy the generator of the largest size, with a card that shows the result of the study."""

    plan: Planning
    runs: StageRuns
    report: ReportFiles
    folder: Path
    people: Literal["simulated", "recorded"] | None
    license: str | None

    def make(self) -> Path:
        """The folder."""
        source, report = self.runs.result.pipeline, self.report.result
        study = self.plan.result
        if self.folder.is_dir() and not (self.folder / MODEL_INDEX).is_file():
            raise UserError(f"{self.folder} must be empty or hold an exported pipeline, it holds something else")
        # An existing card may have been edited by hand, so it is kept, and only updated below.
        copy_model(source, self.folder, keep=(CARD,))
        if not (self.folder / FACTS).is_file():
            print(f"{study.pipeline} holds no {FACTS}: nothing is known of its training, so that no card is written")
            return self.folder
        if study.pipeline is None:
            _count_originals(study, self.folder)
        write_card(
            self.folder,
            report["scores"]["drawn"]["scores"],
            {
                "num_inference_steps": study.generator.num_inference_steps,
                "guidance_scale": study.generator.guidance_scale,
            },
            people=self.people,
            license=self.license,
            augmentation=card_facts(report),
            scores_of=model_identity(source),
            spectra=write_spectra(report["scores"]["drawn"], self.folder),
        )
        return self.folder


@dataclass(frozen=True, kw_only=True)
class ClassifierExport(Step["Path | None"]):
    """Copy the classifier that was trained in the recommended way, with its card."""

    plan: Planning
    runs: StageRuns
    folder: Path
    people: Literal["simulated", "recorded"] | None
    license: str | None

    def make(self) -> Path | None:
        """The folder; None if the images cannot be read by a classifier."""
        trained = self.runs.result.classifier
        if trained is None:
            return None
        source = trained.folder / CLASSIFIER
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / MODEL_CONFIG).is_file():
            raise UserError(f"{self.folder} must be empty or hold an exported classifier, it holds something else")
        copy_model(source, self.folder, keep=(CARD,))
        if not (source / ONNX).is_file():
            # That of an earlier classifier would give other answers than this one.
            (self.folder / ONNX).unlink(missing_ok=True)
        write_card(self.folder, trained.facts["scores"], people=self.people, license=self.license)
        return self.folder


@dataclass(frozen=True, kw_only=True)
class DatasetUpload(Step[str | None]):
    """Push the augmented data set to the Hub, if a repository is given."""

    dataset: Path
    repo: str | None
    people: Literal["simulated", "recorded"] | None
    private: bool | None
    revision: str | None
    license: str | None

    def make(self) -> str | None:
        """The commit on the Hub; None without a repository."""
        if self.repo is None:
            return None
        url = publish_dataset(
            self.dataset,
            self.repo,
            people=self.people,
            private=self.private,
            revision=self.revision,
            license=self.license,
        )
        print(f"Pushed to {url}")
        return url


def _count_originals(study: Study, folder: Path) -> None:
    """Write the facts of the original images to facts.json, because the training used varied copies of each."""
    real = data_facts(replace(study.data, train=study.largest.images))
    write_json(folder / FACTS, read_json_object(folder / FACTS) | {"data": real})
