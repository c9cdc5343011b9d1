"""`echoform quickstart`: simulate or read spectrograms, train a generator of them, and write a page with its scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from echoform_train.data.config import DataConfig, load_data
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS, PIPELINE, REPORT_PAGE, SCORES, SPECTRA, SPLIT
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.licences import check_licence
from echoform_train.engine.limits import Length, LimitedSettings, Limits, Seed
from echoform_train.engine.resolution import (
    PRESET_HALVING,
    Resolution,
    shown_size,
    sides_of,
)
from echoform_train.engine.seeds import check_different
from echoform_train.engine.shown import ShownAsTable
from echoform_train.engine.training_log import read_log
from echoform_train.latent_diffusion.sampling_limits import check_sampling
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.scores import Scores, score_table, verdict

if TYPE_CHECKING:
    from echoform_train.data.spectrograms import SpectrogramData
    from echoform_train.report.page import ReportFacts
    from echoform_train.study.quickstart_box import Start
    from echoform_train.study.quickstart_stages import GenerationFacts
    from echoform_train.study.stage_cache import FinishedStage, StageCache
    from echoform_train.trainers import ldm as train_ldm
    from echoform_train.trainers import vq_vae as train_vq_vae

STAGES = "stages"
"""Folder inside the output folder that records the settings of each step."""
FROM_SHIPPED, FROM_SCRATCH = 12_000, 24_000
"""Defaults of --ldm-train-images, with the shipped weights and without."""
FEWEST_IMAGES, MOST_IMAGES = 40, 100
"""Limits of the default of --images-per-user."""
USUAL_IMAGES = 60
"""That default for simulated people, for the time that is told before there are images."""
TIMED = {"data": "simulating", "generated": "generating, in a process without echoform", "scores": "judging"}
"""Steps whose duration the page shows, by the name of their stage; trainings report their own."""


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Simulate walkers, train a generator, generate with the saved pipeline, score, and write one page.

    It takes some minutes on two CPU cores. Started again after an interruption, it continues where it stopped; started
    with other settings or data, it makes anew what depends on them.
    """

    output_dir: Path = Path("quickstart")
    """Folder for all results; the page is report.html in it."""
    data: str | None = None
    """Folder of your own spectrograms, to use instead of simulated ones."""
    window_s: float | None = None
    """Length of one of your spectrograms in seconds; needed where they overlap and have no axes.json."""
    hop_s: float | None = None
    """Seconds from the start of one of your spectrograms to that of the next one, where names count; needs --window-s.
    Default: found from names and pixels."""
    name_pattern: str | None = None
    """What the names of files tell, such as "{user}_{condition}_{recording}_Doppler{index}"; with {user}, the
    images need no folders of users."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)
    users: Length = 8
    """Number of simulated people."""
    resolution: Resolution = 64
    """Height and width of the spectrograms, in pixels: 64, or 64x128 for height 64 (Doppler) and width 128 (time)."""
    images_per_user: Annotated[int | None, Limits(1, 1_000_000)] = None
    """Spectrograms to generate per user and sampling seed. Default: as many as a user has training images on average,
    so that a classifier of generated images is trained on as many as one of real ones; at least 40, at most 100."""
    sampling_seeds: Annotated[tuple[int, ...], Limits(0, 2**63 - 1)] = (0, 1, 2)
    """Each seed gives one set of generated spectrograms, which is scored with its own judges."""
    guidance_scale: float = 1.0
    """Strength of classifier-free guidance; 1 is none, which is best for images that train classifiers."""
    num_inference_steps: int = 8
    """Denoising steps."""
    first_stage: Literal["vq-vae", "none"] = "vq-vae"
    """What the diffusion model generates: none is the pixels themselves, which keeps their texture; vq-vae is the
    latents of a first stage that is trained before."""
    vq_train_images: Length = 20_000
    """Images seen by the first stage, with --first-stage vq-vae."""
    ldm_train_images: Length | None = None
    """Images seen by the diffusion model. Default: 12000 where it starts from the shipped weights, else 24000."""
    judge_train_images: Length = 12_000
    """Images seen by each judge."""
    from_scratch: bool = False
    """Train both stages with random weights. Default: where the weights of other simulated people that are shipped
    with echoform fit, their first stage is taken as it is, and the second stage starts from theirs."""
    seed: Seed = 0
    """Seed of the simulated people and of both trainings."""
    license: str | None = None
    """Licence in the card of the pipeline, by its identifier on the Hub, such as cc-by-4.0. Default: the card says that
    none is named."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people in your data are simulated or recorded, for the card. Default: recorded; simulated without
    --data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sampling(self.num_inference_steps, self.guidance_scale)
        check_different("--sampling-seeds", self.sampling_seeds)
        check_licence(self.license)
        if self.people == "recorded" and self.data is None:
            raise UserError("--people recorded must go with --data: without it, the people are simulated")


@dataclass(frozen=True, kw_only=True, repr=False)
class QuickstartResult(ShownAsTable):
    """The outputs of the quickstart."""

    data: Path | str
    """Folder of the spectrograms that it was trained on, or the name of the data set that was given."""
    pipeline: Path
    """Folder of the exported pipeline."""
    generated: list[Path]
    """Folders of generated spectrograms, one per sampling seed."""
    scores: Scores
    page: Path
    """The HTML page."""

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that it prints: the scores, and the paths."""
        for name, entry in self.scores["scores"].items():
            yield name, f"{entry['mean']:.3f}"
        yield from super().shown()


def main(config: Config) -> QuickstartResult:
    """Run all steps, print the scores and return the outputs; steps whose settings have not changed are kept."""
    from echoform_train.data.spectrograms import load_spectrograms
    from echoform_train.publishing.card import write_card
    from echoform_train.report.page import write_report
    from echoform_train.report.spectra import write_spectra
    from echoform_train.scoring.scored import data_record
    from echoform_train.study.quickstart_box import Start, choose_start
    from echoform_train.study.quickstart_stages import Scoring, Simulation
    from echoform_train.study.stage_cache import StageCache

    PRESET_HALVING.check(*sides_of(config.resolution))
    start = Start(None, "The diffusion model is trained from scratch")
    if config.first_stage == "vq-vae":
        start = choose_start(
            own_data=config.data is not None,
            from_scratch=config.from_scratch,
            seed=config.seed,
            resolution=config.resolution,
        )
    print(start.line, flush=True)
    out = config.output_dir
    if config.data is None:
        _tell_time(config, start, config.users, USUAL_IMAGES)
    steps = 3 + (config.data is None) + (config.first_stage != "none")
    cache = StageCache(out / STAGES, steps)
    source = config.data or str(cache.run(Simulation(config=_simulation(config)), output=out / "data").folder)
    generated = _train_and_generate(config, source, cache, start)
    # Scores need the split of the training: judges see its training part, and images are compared with its test part.
    data = load_spectrograms(
        source,
        split_file=out / "ldm" / SPLIT,
        resolution=config.resolution,
        window_s=config.window_s,
        hop_s=config.hop_s,
        name_pattern=config.name_pattern,
        reading=config.reading,
    )
    folders = [generated.folder / f"seed-{seed}" for seed in config.sampling_seeds]
    scored = cache.run(
        Scoring(
            data=data,
            generated_key=generated.key,
            folders=folders,
            judge_train_images=config.judge_train_images,
            seeds=config.sampling_seeds,
        )
    )
    scores, pipeline = scored.facts["scores"], out / "ldm" / PIPELINE
    # The scores keep the provenance of the code that measured them, which may be older than this run.
    model = {"model": generated.facts["model"], "data": data_record(data)}
    write_json(out / SCORES, {**scores, **model, **scored.made_by[-1]})
    # The card is written again, because the one of the training has no scores.
    write_card(
        pipeline,
        scores["scores"],
        {"num_inference_steps": config.num_inference_steps, "guidance_scale": config.guidance_scale},
        people=config.people or ("recorded" if config.data else "simulated"),
        license=config.license,
        scores_of=generated.facts["model"],
        spectra=write_spectra(scores, pipeline),
    )
    cache.record_files(next(stage for stage in cache.done if stage.folder == pipeline.parent))
    write_report(_facts(config, data, folders, scores, cache.done), out / REPORT_PAGE)
    print("\n".join(score_table(scores)))
    print(f"\n{verdict(scores)}\nPipeline: {pipeline}\nPage: {out / REPORT_PAGE}")
    return QuickstartResult(
        data=config.data or Path(source), pipeline=pipeline, generated=folders, scores=scores, page=out / REPORT_PAGE
    )


def _train_and_generate(config: Config, source: str, cache: StageCache, start: Start) -> FinishedStage[GenerationFacts]:
    """Train with the presets for a CPU, or continue an interrupted training, and generate images."""
    from echoform.hub import CARD
    from echoform_train.study.quickstart_box import ShippedFirstStage, fitting, like_shipped
    from echoform_train.study.quickstart_stages import DenoiserTraining, FirstStageTraining, Generation

    out, ldm = config.output_dir, _ldm(config, source, start)
    data = load_data(replace(_data(config, source), resolution=config.resolution), config.seed)
    first_stage, images_per_user = None, config.images_per_user or _images_per_user(data)
    if config.data is not None:
        _tell_time(config, start, len(data.id2label), images_per_user)
    if config.first_stage == "vq-vae":
        usable = fitting(start, data)
        if usable != start:
            ldm = _ldm(config, source, usable)
            print(usable.line, flush=True)
        vq_vae = _vq_vae(config, source)
        if usable.pipeline is None:
            stage: FirstStageTraining | ShippedFirstStage = FirstStageTraining(data=data, config=vq_vae)
        else:
            stage, ldm = ShippedFirstStage(data=data, pipeline=usable.pipeline), like_shipped(ldm, usable.pipeline)
        first_stage = cache.run(stage, output=vq_vae.run.output_dir).key
    # The card of the pipeline is written again below, and a person may write into it.
    training = DenoiserTraining(data=data, first_stage_key=first_stage, config=ldm)
    trained = cache.run(training, output=ldm.run.output_dir, changing=(CARD, FACTS, SPECTRA))
    generation = Generation(
        pipeline=trained.folder / PIPELINE,
        images_per_user=images_per_user,
        guidance_scale=config.guidance_scale,
        num_inference_steps=config.num_inference_steps,
        sampling_seeds=config.sampling_seeds,
    )
    return cache.run(generation, output=out / "generated")


def _tell_time(config: Config, start: Start, users: int, images_per_user: int) -> None:
    """Print how long the whole takes on this machine, after a few steps of each kind of its work.

    A quickstart that goes on has finished some of its steps; its trainings tell their own time.
    """
    from echoform_train.study.quickstart_box import Start
    from echoform_train.study.quickstart_time import Work, measure, time_line

    if (config.output_dir / STAGES).exists():
        return

    def work(of: Start) -> Work:
        trained = of.pipeline is None and config.first_stage == "vq-vae"
        return Work(
            recordings=0 if config.data else users * _simulation(config).recordings_per_user,
            first_stage=config.vq_train_images if trained else 0,
            denoiser=_ldm_train_images(config, of),
            generated=users * (config.images_per_user or images_per_user) * len(config.sampling_seeds),
            steps=config.num_inference_steps * (1 if config.guidance_scale == 1 else 2),
            judges=2 * len(config.sampling_seeds),
            judge_images=config.judge_train_images,
        )

    source = config.data or str(config.output_dir)
    vq_vae = _vq_vae(config, source) if config.first_stage == "vq-vae" else None
    speed = measure(_simulation(config), vq_vae, _ldm(config, source, start), users)
    from_scratch = None if start.pipeline is None else work(Start(None, "from scratch"))
    print(time_line(speed, work(start), from_scratch), flush=True)


def _images_per_user(data: SpectrogramData) -> int:
    """See `Config.images_per_user`."""
    return min(max(round(len(data.train) / len(data.id2label)), FEWEST_IMAGES), MOST_IMAGES)


def _simulation(config: Config) -> SimulationConfig:
    return SimulationConfig(
        output_dir=config.output_dir / "data", users=config.users, resolution=config.resolution, seed=config.seed
    )


def _data(config: Config, source: str) -> DataConfig:
    return DataConfig(
        data=source,
        window_s=config.window_s,
        hop_s=config.hop_s,
        name_pattern=config.name_pattern,
        reading=config.reading,
    )


def _vq_vae(config: Config, source: str) -> train_vq_vae.Config:
    from echoform_train.trainers import vq_vae as train_vq_vae

    preset = train_vq_vae.PRESETS["cpu"]
    return replace(
        preset,
        data=replace(_data(config, source), resolution=config.resolution),
        run=_run_config(config, preset.run, "vq-vae", config.vq_train_images),
        n_layers=_levels(config.resolution),
        quantize_after=config.vq_train_images // 4,
    )


def _levels(resolution: int | str) -> int:
    """Levels of the first stage: latents are 16x16 for 64 pixels (a quarter) and for 128 pixels (an eighth)."""
    sides = sides_of(resolution)
    # A denoiser of three levels halves the latents twice more.
    return 3 if min(sides) <= 64 or any(side % 32 for side in sides) else 4


def _ldm_train_images(config: Config, start: Start) -> int:
    """See `Config.ldm_train_images`."""
    return config.ldm_train_images or (FROM_SCRATCH if start.pipeline is None else FROM_SHIPPED)


def _ldm(config: Config, source: str, start: Start) -> train_ldm.Config:
    from echoform_train.trainers import ldm as train_ldm

    preset, train_images = train_ldm.PRESETS["cpu"], _ldm_train_images(config, start)
    return replace(
        preset,
        first_stage="none" if config.first_stage == "none" else config.output_dir / config.first_stage,
        data=replace(_data(config, source), resolution=config.resolution),
        run=_run_config(config, preset.run, "ldm", train_images),
        sample_every=train_images,  # one sheet of samples, at the end
    )


def _run_config(config: Config, preset: RunConfig, name: str, train_images: int) -> RunConfig:
    return replace(
        preset,
        output_dir=config.output_dir / name,
        max_train_images=train_images,
        validation_every=train_images // 10,
        checkpointing_every=train_images // 5,
        logging_every=train_images // 50,
        resume_from_checkpoint="latest",
        seed=config.seed,
    )


def _facts(
    config: Config,
    data: SpectrogramData,
    folders: Sequence[Path],
    scores: Scores,
    done: Sequence[FinishedStage[Any]],
) -> ReportFacts:
    from echoform_train.engine.provenance import provenance
    from echoform_train.report.gallery import gallery_rows
    from echoform_train.report.page import ReportFacts, Stage
    from echoform_train.scoring.generated_images import read_generated, read_metadata
    from echoform_train.study.stage_cache import note_on_codes

    kind = "of your own" if config.data else "simulated"
    trainings = {"Diffusion of pixels": config.output_dir / "ldm"}
    if config.first_stage == "vq-vae":
        trainings = {"VQ-VAE": config.output_dir / "vq-vae", "Latent diffusion": config.output_dir / "ldm"}
    size = shown_size(*data.train.pixels.shape[-2:])
    pixels, users = read_generated(read_metadata(folders[0]), data)[0]
    seconds = {stage.name: stage.seconds for stage in done}
    logs = {name: read_log(folder) for name, folder in trainings.items()}
    models = "A diffusion model of pixels"
    if config.first_stage == "vq-vae":
        # A first stage that was taken from the shipped pipeline was not trained here.
        models = "A VQ-VAE and a latent diffusion model" if logs["VQ-VAE"] else "The shipped latent diffusion model"
    return ReportFacts(
        title="echoform quickstart",
        subject=(
            f"{models}, trained on {len(data.train)} {kind} spectrograms of "
            f"{len(data.id2label)} users ({size} pixels, split {data.split.method})."
        ),
        note=note_on_codes(done),
        scores=scores,
        gallery=gallery_rows(data, pixels, users),
        axes=data.axes,
        colormap=data.colormap,
        stages=[
            Stage(
                name=name if logs[name] else f"{name} (shipped)",
                facts=read_json_object(folder / FACTS),
                log=logs[name],
            )
            for name, folder in trainings.items()
        ],
        seconds={text: seconds[name] for name, text in TIMED.items() if name in seconds},
        commands=[provenance()["command"]],
        provenance=provenance(),
    )
