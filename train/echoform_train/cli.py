"""The program `echoform`: a verb for each thing a person does, each in a module that is imported only when called."""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from echoform_train.engine.extras import MissingPackageError

VERBS = {
    "quickstart": ("commands.quickstart", "simulate walkers, train both stages, generate, judge, and write one page"),
    "simulate": ("commands.simulate", "make a folder of spectrograms of simulated walking people"),
    "prepare": ("commands.prepare", "look at a folder of spectrograms and split it, before anything trains"),
    "prepare-depth": ("commands.prepare_depth", "look at a folder of 16-bit depth images and split it"),
    "train vq-vae": ("trainers.vq_vae", "train the first stage: spectrograms to small latents"),
    "train kl-vae": ("trainers.kl_vae", "train a first stage without a codebook: spectrograms to small latents"),
    "train ldm": ("trainers.ldm", "train the user-conditioned diffusion of the latents and export the pipeline"),
    "train depth-ae": ("trainers.depth_ae", "train the depth autoencoder: uint16 images to 768 numbers and back"),
    "train conv-ae": ("trainers.conv_ae", "train a convolutional autoencoder (SegNet family) on any pictures"),
    "distill": ("trainers.distill", "make a pipeline of four steps or fewer from one of many, without any data"),
    "augment": (
        "commands.augment",
        "generate training data, and measure whether it helps a classifier: the whole study",
    ),
    "generate --decoder-only": (
        "commands.generate_decoder",
        "decode random latents and walks between them with a convolutional autoencoder",
    ),
    "generate": ("commands.generate", "make spectrograms of chosen users with an exported pipeline"),
    "encode": ("commands.encode", "embed a folder of depth images, and find the nearest to one of them"),
    "extract-encoder": ("commands.extract_encoder", "save the encoder of a trained depth autoencoder on its own"),
    "score generated": ("commands.score_generated", "judge generated spectrograms against held-out real ones"),
    "score first-stage": (
        "commands.score_first_stage",
        "measure reconstructions of a first stage on held-out images: is it good enough?",
    ),
    "score conv-ae": (
        "commands.score_conv_ae",
        "measure reconstructions of a convolutional autoencoder on held-out pictures",
    ),
    "score depth-ae": (
        "commands.score_depth_ae",
        "measure reconstruction and embedding of a depth autoencoder, beside baselines",
    ),
    "space": ("commands.space", "show pipelines in the browser, on this machine or as a Space of the Hub"),
    "push": ("commands.push", "upload an exported folder to the Hub in one commit"),
    "verify": (
        "commands.verify",
        "check that a repository of the Hub loads, is safe, and makes what it made when it was pushed",
    ),
}


def main(argv: list[str] | None = None) -> None:
    """Run one verb; a user's error is one sentence on stderr and exit status 1."""
    args = sys.argv[1:] if argv is None else argv
    found = next((found for name in VERBS if (found := _match(name, args)) is not None), None)
    if found is None:
        wanted = [word for word in args if not word.startswith("-")]
        print(_usage(), file=sys.stderr if wanted or not args else sys.stdout)
        sys.exit(2 if wanted or not args else 0)
    verb, flags = found
    module = _load(VERBS[verb][0])
    config = parse(module, flags, prog=f"echoform {verb}")
    from echoform.hub import PushError  # takes 0.3 s to import, and `echoform --help` does not need it

    try:
        module.main(config)
    except (ValueError, FileNotFoundError, FloatingPointError, MissingPackageError, PushError) as error:
        print(f"echoform {verb}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\nechoform {verb}: interrupted", file=sys.stderr)
        sys.exit(130)


def _load(name: str) -> ModuleType:
    """Import the module of a verb, and some four thousand with it, which nothing frees before the process ends.

    Garbage is not looked for meanwhile, nor afterwards among what was imported: a sixth of the time of a short run.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        module = import_module(f"echoform_train.{name}")
        gc.freeze()
        atexit.register(gc.unfreeze)  # extension modules complain of what is still there after the last collection
    finally:
        if collecting:
            gc.enable()
    return module


def _match(verb: str, args: list[str]) -> tuple[str, list[str]] | None:
    """The verb and what follows it, if the arguments begin with its words; a flag in its name may stand anywhere."""
    words = [word for word in verb.split() if not word.startswith("--")]
    chosen = [word for word in verb.split() if word.startswith("--")]
    rest = args[len(words) :]
    if args[: len(words)] != words or any(flag not in rest for flag in chosen):
        return None
    return verb, [arg for arg in rest if arg not in chosen]


def parse(module: ModuleType, args: list[str], prog: str) -> Any:
    """Settings of a verb: its preset where it has some, overridden by flags."""
    import tyro  # a third of a second, which `echoform --help` does not need

    presets = getattr(module, "PRESETS", None)
    if presets is None:
        return tyro.cli(module.Config, args=args, prog=prog)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", choices=presets, default=next(iter(presets)))
    name = finder.parse_known_args(args)[0].preset
    return tyro.cli(module.Config, default=presets[name], args=args, prog=prog)


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in VERBS.items())
    return f"usage: echoform VERB [flags]\n\n{verbs}\n\n`echoform VERB --help` lists the flags of a verb."


if __name__ == "__main__":
    main()
