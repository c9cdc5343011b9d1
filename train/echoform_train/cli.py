"""The program `echoform`: a verb for each thing a person does, each in a module that is imported only when called."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

VERBS = {
    "quickstart": ("quickstart", "simulate walkers, train both stages, generate, judge, and write one page"),
    "simulate": ("simulate", "make a folder of spectrograms of simulated walking people"),
    "prepare": ("prepare", "look at a folder of spectrograms and split it, before anything trains"),
    "train vq-vae": ("train_vq_vae", "train the first stage: spectrograms to small latents"),
    "train ldm": ("train_ldm", "train the user-conditioned diffusion of the latents and export the pipeline"),
    "generate": ("generate", "make spectrograms of chosen users with an exported pipeline"),
    "score generated": ("score_generated", "judge generated spectrograms against held-out real ones"),
}


def main(argv: list[str] | None = None) -> None:
    """Run one verb; a user's error is one sentence on stderr and exit status 1."""
    args = sys.argv[1:] if argv is None else argv
    verb = next((name for name in VERBS if args[: len(name.split())] == name.split()), None)
    if verb is None:
        wanted = [word for word in args if not word.startswith("-")]
        print(_usage(), file=sys.stderr if wanted or not args else sys.stdout)
        sys.exit(2 if wanted or not args else 0)
    module = import_module(f"echoform_train.{VERBS[verb][0]}")
    config = parse(module, args[len(verb.split()) :], prog=f"echoform {verb}")
    try:
        module.main(config)
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        print(f"echoform {verb}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\nechoform {verb}: interrupted", file=sys.stderr)
        sys.exit(130)


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
