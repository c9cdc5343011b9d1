"""The commands of the program `echoform`, one per file, and the table of all verbs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoform_train.engine.python_calls import Command

VERBS = {
    # verb: (module with `Config`, `main` and perhaps `PRESETS`, what it does)
    "quickstart": ("commands.quickstart", "simulate walking people, train, generate and score, and write one page"),
    "simulate": ("commands.simulate", "make a folder of spectrograms of simulated walking people"),
    "prepare": ("commands.prepare", "check a folder of spectrograms and split it, before anything is trained"),
    "prepare-depth": ("commands.prepare_depth", "check a folder of 16-bit depth images and split it"),
    "train vq-vae": ("trainers.vq_vae", "train a first stage with a codebook: spectrograms to latents and back"),
    "train kl-vae": (
        "trainers.kl_vae",
        "train a first stage without a codebook: spectrograms to latents and back",
    ),
    "train ldm": (
        "trainers.ldm",
        "train the user-conditioned diffusion model of the latents, and export the pipeline",
    ),
    "train depth-ae": ("trainers.depth_ae", "train the depth autoencoder: uint16 images to 768 numbers and back"),
    "train conv-ae": ("trainers.conv_ae", "train a convolutional autoencoder (SegNet family) on any images"),
    "train classifier": (
        "trainers.classifier",
        "train a classifier that tells who walks, or that nobody it knows does",
    ),
    "distill": ("trainers.distill", "turn a pipeline of many sampling steps into one of a few; needs no data"),
    "augment": (
        "commands.augment",
        "generate training data and measure whether it helps a classifier: the whole study",
    ),
    "add-user": (
        "commands.add_user",
        "learn one more user for a trained pipeline or classifier from 5 to 50 spectrograms",
    ),
    "generate --decoder-only": (
        "commands.generate_decoder",
        "decode random latents, and paths between them, with a convolutional autoencoder",
    ),
    "generate": ("commands.generate", "generate spectrograms of chosen users with an exported pipeline"),
    "classify": ("commands.classify", "tell who walks in spectrograms, with a trained classifier"),
    "encode": ("commands.encode", "embed a folder of depth images, or find the images nearest to some"),
    "extract-encoder": ("commands.extract_encoder", "save the encoder of a trained depth autoencoder on its own"),
    "score generated": ("commands.score_generated", "score generated spectrograms against held-out real ones"),
    "score first-stage": (
        "commands.score_first_stage",
        "measure how well a first stage reconstructs held-out spectrograms: is it good enough?",
    ),
    "score conv-ae": (
        "commands.score_conv_ae",
        "measure how well a convolutional autoencoder reconstructs held-out images",
    ),
    "score simulated": (
        "commands.score_simulated",
        "measure how much simulated spectrograms look like measured ones",
    ),
    "score depth-ae": (
        "commands.score_depth_ae",
        "measure reconstruction and embedding of a depth autoencoder, next to baselines",
    ),
    "pretrained": ("commands.pretrained", "print the folder of trained weights that are shipped inside the package"),
    "space": ("commands.space", "show pipelines in the browser, on this machine or as a Space on the Hub"),
    "push": ("commands.push", "upload an exported folder to the Hub in one commit"),
    "verify": (
        "commands.verify",
        "check that a Hub repository loads, is safe, and gives the outputs that it gave when it was pushed",
    ),
}


SETTINGS = {
    "trainers.vq_vae": "latent_diffusion.vq_vae_config",
    "trainers.kl_vae": "latent_diffusion.kl_vae_config",
    "trainers.ldm": "latent_diffusion.ldm_config",
    "trainers.distill": "latent_diffusion.distill_config",
    "trainers.depth_ae": "depth.depth_ae_config",
    "trainers.conv_ae": "conv.conv_ae_config",
    "trainers.classifier": "scoring.classifier_config",
}
"""Where `Config` and `PRESETS` of a trainer lie, whose own module imports torch."""

CALLS = {re.sub(r"\W+", "_", verb): verb for verb in VERBS}
"""Verb by the name of its Python function."""
NO_CHECKPOINTS = ("trainers.classifier",)
"""Trainers whose checkpoints are whole networks that are done, of which no call tells."""


def command_of(call: str) -> Command:
    """The command of a Python function."""
    from echoform_train.engine.python_calls import Command  # the program does not need it

    module = VERBS[CALLS[call]][0]
    callbacks = ("on_validation", "on_checkpoint") if module.startswith("trainers.") else ()
    return Command(
        name=call,
        verb=CALLS[call],
        module=f"echoform_train.{module}",
        settings=f"echoform_train.{SETTINGS.get(module, module)}",
        callbacks=callbacks[:1] if module in NO_CHECKPOINTS else callbacks,
    )
