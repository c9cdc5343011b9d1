import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train import distill
from tiny import tiny_run


@pytest.fixture
def teacher(second_stage):
    return VQLDMDopplerPipeline.from_pretrained(second_stage / "pipeline")


def settings(second_stage, folder, **changes):
    run = {"max_train_images": 96, "learning_rate": 1e-3, "validation_every": 48, "checkpointing_every": 48}
    run |= changes.pop("run", {})
    chosen = {"pipeline": str(second_stage / "pipeline"), "run": tiny_run(folder, **run), "ema_decay": 0.8}
    return replace(distill.PRESETS["cpu"], **chosen, **changes)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_velocities_take_ddim_from_each_way_point_to_the_next(teacher, second_stage, tmp_path, steps):
    course = distill.Course(teacher, settings(second_stage, tmp_path, steps=steps))
    states = torch.randn(steps + 1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for place, velocity in enumerate(course.velocities(states)):
        reached = course.jumps.step(velocity, course.timesteps[place], states[place]).prev_sample
        torch.testing.assert_close(reached, states[place + 1], atol=1e-4, rtol=1e-4)


def test_a_student_comes_nearer_to_its_teachers_images_than_the_teacher_in_as_few_steps(second_stage, tmp_path, capsys):
    distill.main(settings(second_stage, tmp_path / "few", steps=2, run={"max_train_images": 640}))
    facts = json.loads((tmp_path / "few/facts.json").read_text())
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
    with pytest.raises(ValueError, match="resumes with the teacher it began with"):
        distill.main(again)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"steps": 3}, "--teacher-steps must be a multiple of --steps, got 16 and 3"),
        ({"steps": 0}, "--teacher-steps must be a multiple of --steps, got 16 and 0"),
        ({"pipeline": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_distilled_is_refused(second_stage, tmp_path, changes, rule):
    with pytest.raises((ValueError, FileNotFoundError), match=rule):
        distill.main(replace(settings(second_stage, tmp_path / "few"), **changes))
    assert not (tmp_path / "few").exists()


def test_a_pipeline_of_flow_matching_is_refused(teacher, second_stage, tmp_path):
    teacher.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="must predict v to be distilled, its sampler is FlowMatchEuler"):
        distill.Course(teacher, settings(second_stage, tmp_path))
