"""echoform from Python: for each command a class of settings and a function that returns the result.

A function does what the command of the same name does, with the same settings and defaults:

    from echoform_train import GenerateConfig, LDMConfig, ScoreGeneratedConfig, SimulateConfig, VQVAEConfig
    from echoform_train import configure, generate, score_generated, simulate, train_ldm, train_vq_vae

    walkers = simulate(configure(SimulateConfig, output_dir="walkers", users=4, resolution=64))
    vq_vae = train_vq_vae(configure(VQVAEConfig, "cpu", data=walkers, output_dir="vq"))
    ldm = train_ldm(
        configure(LDMConfig, "cpu", data=walkers, first_stage=vq_vae.output_dir, output_dir="ldm")
    )
    print(ldm.summary())
    images = generate(configure(GenerateConfig, pipeline=ldm.exported, output_dir="generated"))
    scores = score_generated(
        configure(
            ScoreGeneratedConfig,
            data=walkers,
            split_file=vq_vae.output_dir / "split.json",
            generated_dir=[images.folder],
        )
    )

`configure(SomeConfig, preset, **settings)` names settings like the flags, with an underscore for each dash;
`presets(SomeConfig)` holds the presets of a command. `echoform COMMAND --help` and docs/command-line.md explain every
setting. Classes of settings are frozen dataclasses, of which `dataclasses.replace` makes changed copies.

A module is imported only when one of its names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoform_train.commands.augment import Config as AugmentConfig
    from echoform_train.commands.augment import main as augment
    from echoform_train.commands.classify import Config as ClassifyConfig
    from echoform_train.commands.classify import main as classify
    from echoform_train.commands.encode import Config as EncodeConfig
    from echoform_train.commands.encode import main as encode
    from echoform_train.commands.extract_encoder import Config as ExtractEncoderConfig
    from echoform_train.commands.extract_encoder import main as extract_encoder
    from echoform_train.commands.generate import Config as GenerateConfig
    from echoform_train.commands.generate import main as generate
    from echoform_train.commands.generate_decoder import Config as GenerateDecoderOnlyConfig
    from echoform_train.commands.generate_decoder import main as generate_decoder_only
    from echoform_train.commands.prepare import Config as PrepareConfig
    from echoform_train.commands.prepare import main as prepare
    from echoform_train.commands.prepare_depth import Config as PrepareDepthConfig
    from echoform_train.commands.prepare_depth import main as prepare_depth
    from echoform_train.commands.push import Config as PushConfig
    from echoform_train.commands.push import main as push
    from echoform_train.commands.quickstart import Config as QuickstartConfig
    from echoform_train.commands.quickstart import main as quickstart
    from echoform_train.commands.score_conv_ae import Config as ScoreConvAEConfig
    from echoform_train.commands.score_conv_ae import main as score_conv_ae
    from echoform_train.commands.score_depth_ae import Config as ScoreDepthAEConfig
    from echoform_train.commands.score_depth_ae import main as score_depth_ae
    from echoform_train.commands.score_first_stage import Config as ScoreFirstStageConfig
    from echoform_train.commands.score_first_stage import main as score_first_stage
    from echoform_train.commands.score_generated import Config as ScoreGeneratedConfig
    from echoform_train.commands.score_generated import main as score_generated
    from echoform_train.commands.score_simulated import Config as ScoreSimulatedConfig
    from echoform_train.commands.score_simulated import main as score_simulated
    from echoform_train.commands.simulate import Config as SimulateConfig
    from echoform_train.commands.simulate import main as simulate
    from echoform_train.commands.space import Config as SpaceConfig
    from echoform_train.commands.space import main as space
    from echoform_train.commands.verify import Config as VerifyConfig
    from echoform_train.commands.verify import main as verify
    from echoform_train.data.figure import figure, result_figure, save_figure
    from echoform_train.engine.presets import configure, presets
    from echoform_train.engine.training_result import TrainingResult
    from echoform_train.trainers.classifier import Config as ClassifierConfig
    from echoform_train.trainers.classifier import main as train_classifier
    from echoform_train.trainers.conv_ae import Config as ConvAEConfig
    from echoform_train.trainers.conv_ae import main as train_conv_ae
    from echoform_train.trainers.depth_ae import Config as DepthAEConfig
    from echoform_train.trainers.depth_ae import main as train_depth_ae
    from echoform_train.trainers.distill import Config as DistillConfig
    from echoform_train.trainers.distill import main as distill
    from echoform_train.trainers.kl_vae import Config as KLVAEConfig
    from echoform_train.trainers.kl_vae import main as train_kl_vae
    from echoform_train.trainers.ldm import Config as LDMConfig
    from echoform_train.trainers.ldm import main as train_ldm
    from echoform_train.trainers.vq_vae import Config as VQVAEConfig
    from echoform_train.trainers.vq_vae import main as train_vq_vae

# Function: its class of settings, and the module that has the two as `main` and `Config`.
_COMMANDS = {
    "quickstart": ("QuickstartConfig", "commands.quickstart"),
    "simulate": ("SimulateConfig", "commands.simulate"),
    "prepare": ("PrepareConfig", "commands.prepare"),
    "prepare_depth": ("PrepareDepthConfig", "commands.prepare_depth"),
    "train_vq_vae": ("VQVAEConfig", "trainers.vq_vae"),
    "train_kl_vae": ("KLVAEConfig", "trainers.kl_vae"),
    "train_ldm": ("LDMConfig", "trainers.ldm"),
    "train_depth_ae": ("DepthAEConfig", "trainers.depth_ae"),
    "train_conv_ae": ("ConvAEConfig", "trainers.conv_ae"),
    "train_classifier": ("ClassifierConfig", "trainers.classifier"),
    "distill": ("DistillConfig", "trainers.distill"),
    "augment": ("AugmentConfig", "commands.augment"),
    "generate_decoder_only": ("GenerateDecoderOnlyConfig", "commands.generate_decoder"),
    "generate": ("GenerateConfig", "commands.generate"),
    "classify": ("ClassifyConfig", "commands.classify"),
    "encode": ("EncodeConfig", "commands.encode"),
    "extract_encoder": ("ExtractEncoderConfig", "commands.extract_encoder"),
    "score_generated": ("ScoreGeneratedConfig", "commands.score_generated"),
    "score_first_stage": ("ScoreFirstStageConfig", "commands.score_first_stage"),
    "score_conv_ae": ("ScoreConvAEConfig", "commands.score_conv_ae"),
    "score_simulated": ("ScoreSimulatedConfig", "commands.score_simulated"),
    "score_depth_ae": ("ScoreDepthAEConfig", "commands.score_depth_ae"),
    "space": ("SpaceConfig", "commands.space"),
    "push": ("PushConfig", "commands.push"),
    "verify": ("VerifyConfig", "commands.verify"),
}
_OTHERS = {
    "configure": "engine.presets",
    "presets": "engine.presets",
    "TrainingResult": "engine.training_result",
    "figure": "data.figure",
    "result_figure": "data.figure",
    "save_figure": "data.figure",
}
_HOMES = {
    **{function: (module, "main") for function, (_, module) in _COMMANDS.items()},
    **{settings: (module, "Config") for settings, module in _COMMANDS.values()},
    **{name: (module, name) for name, module in _OTHERS.items()},
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'echoform_train' has no attribute {name!r}; it exports {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"echoform_train.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
