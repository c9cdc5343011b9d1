"""The program `echoform`: its verbs, each in a module that is imported only when the verb is called."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from echoform_train.engine.errors import UserError
from echoform_train.engine.jobs import check_can_share
from echoform_train.engine.stopping import Stopped, ended_by_signals, stopped_by_signals

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
    "distill": ("trainers.distill", "turn a pipeline of many sampling steps into one of a few; needs no data"),
    "augment": (
        "commands.augment",
        "generate training data and measure whether it helps a classifier: the whole study",
    ),
    "generate --decoder-only": (
        "commands.generate_decoder",
        "decode random latents, and paths between them, with a convolutional autoencoder",
    ),
    "generate": ("commands.generate", "generate spectrograms of chosen users with an exported pipeline"),
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
    "space": ("commands.space", "show pipelines in the browser, on this machine or as a Space on the Hub"),
    "push": ("commands.push", "upload an exported folder to the Hub in one commit"),
    "verify": (
        "commands.verify",
        "check that a Hub repository loads, is safe, and gives the outputs that it gave when it was pushed",
    ),
}


def main(argv: list[str] | None = None) -> None:
    """Run one verb.

    What the user can mend is one sentence on stderr and exit status 1; an unknown verb is exit status 2. Any other
    exception is a fault of echoform and shows its traceback, as all do where ECHOFORM_TRACEBACK is 1. A signal that
    asks to end (SIGINT, SIGTERM, SIGUSR1) is one sentence and 128 plus its number.

    Args:
        argv: Words after `echoform`. Default: those of this process.
    """
    args = sys.argv[1:] if argv is None else argv
    verb = next((verb for verb in VERBS if _matches(verb, args)), None)
    if verb is None:
        # Help alone, as in `echoform --help`, is not an error.
        is_error = not args or any(not word.startswith("-") for word in args)
        print(_usage(), file=sys.stderr if is_error else sys.stdout)
        sys.exit(2 if is_error else 0)
    with ended_by_signals(f"echoform {verb}"):
        module = _load(VERBS[verb][0])
        from echoform.hub import PushError  # takes 0.3 s, and `echoform --help` does not need it

    try:
        check_can_share(verb)
        with stopped_by_signals():
            module.main(parse(module, _flags(verb, args), prog=f"echoform {verb}"))
    # An OSError is the system's answer: a file that is missing or not readable, a full disk, no way to the Hub.
    except (UserError, OSError, PushError) as error:
        if os.environ.get("ECHOFORM_TRACEBACK") == "1":
            raise
        from echoform_train.engine.presets import with_flags

        print(f"echoform {verb}: {with_flags(str(error), module.Config)}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        if not stopped.told:
            print(f"echoform {verb}: stopped by {stopped.name}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print(f"\nechoform {verb}: interrupted", file=sys.stderr)
        sys.exit(130)


def _words(verb: str) -> list[str]:
    """The words with which the command line of a verb begins."""
    return [word for word in verb.split() if not word.startswith("--")]


def _own_flags(verb: str) -> list[str]:
    """The flags that are part of a verb, such as --decoder-only; they may stand anywhere behind its words."""
    return [word for word in verb.split() if word.startswith("--")]


def _matches(verb: str, args: list[str]) -> bool:
    """Whether a command line begins with the words of a verb and has its own flags."""
    words = _words(verb)
    return args[: len(words)] == words and all(flag in args[len(words) :] for flag in _own_flags(verb))


def _flags(verb: str, args: list[str]) -> list[str]:
    """The arguments behind the words of a verb, without its own flags."""
    return [arg for arg in args[len(_words(verb)) :] if arg not in _own_flags(verb)]


def _load(name: str) -> ModuleType:
    """Import the module of a verb.

    It imports thousands of modules, which stay until the process ends. The garbage collector is off meanwhile and
    ignores them afterwards, which saves a sixth of the time of a short command.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        module = import_module(f"echoform_train.{name}")
        gc.freeze()
        # Extension modules warn about objects that are still there after the last collection.
        atexit.register(gc.unfreeze)
    finally:
        if was_enabled:
            gc.enable()
    return module


def parse(module: ModuleType, args: list[str], prog: str) -> Any:
    """Parse the flags of a verb.

    Args:
        module: Module of the verb. Where it has `PRESETS`, --preset chooses the values that the flags override.
        args: The flags.
        prog: Name of the verb for help and errors.

    Returns:
        The `Config` of the module.
    """
    import tyro  # takes 0.3 s, and `echoform --help` does not need it

    presets = getattr(module, "PRESETS", None)
    if presets is None:
        return tyro.cli(module.Config, args=args, prog=prog)
    # The preset has to be known before tyro parses the flags, because it changes their defaults.
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
