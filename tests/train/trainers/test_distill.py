import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.engine.training_log import read_log
from echoform_train.trainers import distill
from tiny import run_processes, tiny_run


@pytest.fixture
def teacher(second_stage):
    return VQLDMDopplerPipeline.from_pretrained(second_stage / "pipeline")


def distance(teacher, steps, student, few_steps):
    """Mean squared distance of what two pipelines make of noise that no distillation has seen, in pixels of 0..1."""
    images = [
        pipeline(
            users=[0, 1, 2],
            num_images_per_user=8,
            guidance_scale=1.0,
            num_inference_steps=number,
            generator=torch.Generator().manual_seed(5),
            output_type="pt",
        ).images
        for pipeline, number in ((teacher, steps), (student, few_steps))
    ]
    return (images[0] - images[1]).square().mean()


def settings(second_stage, folder, **changes):
    run = {"max_train_images": 96, "learning_rate": 1e-3, "validation_every": 48, "checkpointing_every": 48}
    run |= changes.pop("run", {})
    chosen = {
        "pipeline": str(second_stage / "pipeline"),
        "run": tiny_run(folder, **run),
        "teacher_steps": 16,
        "ema_decay": 0.8,
    }
    return replace(distill.PRESETS["cpu"], **(chosen | changes))


def test_a_student_comes_nearer_to_its_teachers_images_than_the_teacher_in_as_few_steps(
    second_stage, tmp_path, teacher
):
    distill.main(settings(second_stage, tmp_path / "few", steps=2, run={"max_train_images": 640}))
    facts = json.loads((tmp_path / "few/facts.json").read_text())
    student = VQLDMDopplerPipeline.from_pretrained(tmp_path / "few/pipeline")
    far, near = (distance(teacher, 16, pipeline, 2) for pipeline in (teacher, student))
    assert near < 0.8 * far
    assert facts["validation"]["distance"] < 0.8 * facts["validation"]["undistilled"]
    assert "Distillation to 2 steps" in (tmp_path / "few/pipeline/README.md").read_text()

    # A stranger gets the two steps without asking for them.
    code = (
        "import sys, torch\nfrom diffusers import DiffusionPipeline\n"
        "pipe = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "seen = []\n"
        "def look(pipe, step, timestep, tensors):\n    seen.append(int(timestep))\n    return tensors\n"
        "noise = lambda: torch.Generator().manual_seed(1)\n"
        "draw = lambda **asked: pipe([0], generator=noise(), output_type='pt', **asked).images\n"
        "usual = draw(callback_on_step_end=look)\n"
        "assert seen == [999, 499], seen\n"
        "assert torch.equal(usual, draw(num_inference_steps=2, guidance_scale=1.0))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "few/pipeline")]
    subprocess.run(command, check=True, env={"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"})


def test_an_interrupted_distillation_ends_with_the_same_weights(second_stage, tmp_path):
    whole = settings(second_stage, tmp_path / "whole")
    distill.main(whole)
    half = settings(second_stage, tmp_path / "half")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill.Run, "done", property(lambda run: run.seen >= 48 or run.step >= run.total_steps))
        distill.main(half)
    distill.main(replace(half, run=replace(half.run, resume_from_checkpoint="latest")))
    weights = [load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors") for name in ("whole", "half")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_distillation_goes_on_with_its_own_teacher_alone(second_stage, tmp_path, teacher):
    config = settings(second_stage, tmp_path / "few")
    distill.main(config)
    torch.nn.init.zeros_(teacher.unet.conv_out.weight)
    teacher.save_pretrained(tmp_path / "other")
    (tmp_path / "other/facts.json").write_text((second_stage / "pipeline/facts.json").read_text())
    again = replace(config, pipeline=str(tmp_path / "other"), run=replace(config.run, resume_from_checkpoint="latest"))
    with pytest.raises(
        ValueError, match="a run resumes with the settings and data that it began with: --pipeline was content"
    ):
        distill.main(again)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"steps": 16}, "--steps must be at least 1 and less than --teacher-steps, got 16 and 16"),
        ({"steps": 0}, "--steps must be at least 1 and less than --teacher-steps, got 0 and 16"),
        ({"pipeline": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_distilled_is_refused(second_stage, tmp_path, changes, rule):
    with pytest.raises((ValueError, FileNotFoundError), match=rule):
        distill.main(replace(settings(second_stage, tmp_path / "few"), **changes))
    assert not (tmp_path / "few").exists()


def test_a_pipeline_whose_training_nobody_tells_of_is_refused(teacher, second_stage, tmp_path):
    teacher.save_pretrained(tmp_path / "bare")
    with pytest.raises(FileNotFoundError, match=r"bare holds no facts\.json, which describes its training data"):
        distill.main(settings(second_stage, tmp_path / "few", pipeline=str(tmp_path / "bare")))


def test_only_a_pipeline_of_spectrograms_can_be_distilled(second_stage, tmp_path):
    other = tmp_path / "depth"
    other.mkdir()
    (other / "model_index.json").write_text(json.dumps({"_class_name": ["code", "DepthAutoencoderPipeline"]}))
    (other / "facts.json").write_text(json.dumps({"kind": "depth-ae"}))
    with pytest.raises(ValueError, match=r"must be a VQLDMDopplerPipeline, .*depth holds a DepthAutoencoderPipeline"):
        distill.main(settings(second_stage, tmp_path / "few", pipeline=str(other)))


def test_flow_matching_is_distilled_too(teacher, second_stage, tmp_path):
    teacher.scheduler = FlowMatchEulerDiscreteScheduler()
    teacher.register_to_config(prediction_type="flow_prediction")
    teacher.save_pretrained(tmp_path / "flow")
    (tmp_path / "flow/facts.json").write_text((second_stage / "pipeline/facts.json").read_text())
    slow = {"learning_rate": 1e-4, "max_train_images": 192}
    distill.main(settings(second_stage, tmp_path / "few", pipeline=str(tmp_path / "flow"), steps=1, run=slow))
    facts = json.loads((tmp_path / "few/facts.json").read_text())
    assert facts["validation"]["distance"] < facts["validation"]["undistilled"]


def test_two_processes_give_the_losses_of_one_with_the_same_global_batch(second_stage, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from echoform_train.trainers import distill\nfrom tiny import tiny_run\n"
        "run = tiny_run(Path(sys.argv[2]), train_batch_size=4, max_train_images=48)\n"
        "chosen = {'pipeline': sys.argv[1], 'run': run, 'teacher_steps': 16, 'ema_decay': 0.8}\n"
        "distill.main(replace(distill.PRESETS['cpu'], **chosen))\n"
    )
    run_processes(2, [str(script), str(second_stage / "pipeline"), str(tmp_path / "two")])
    run = {"max_train_images": 48, "learning_rate": 2e-3}
    distill.main(settings(second_stage, tmp_path / "one", run=run))
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [row["seen"] for row in one] == [row["seen"] for row in two]
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)
