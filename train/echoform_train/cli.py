"""The program `echoform`: its verbs, each in a module that is imported only when the verb is called.

Flags are parsed and sources looked for before a module that needs torch is imported, which takes seconds.
"""

from __future__ import annotations

import argparse
import atexit
import difflib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from echoform_train.commands import SETTINGS, VERBS
from echoform_train.engine.errors import UserError
from echoform_train.engine.jobs import check_can_share
from echoform_train.engine.sources import check_sources
from echoform_train.engine.stopping import Stopped, ended_by_signals, stopped_by_signals


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
        _answer(args)
    name = VERBS[verb][0]
    with ended_by_signals(f"echoform {verb}"):
        settings = _load(SETTINGS.get(name, name))
    try:
        config = parse(settings, _flags(verb, args), prog=f"echoform {verb}")
        check_sources(config)
        check_can_share(verb)
        with ended_by_signals(f"echoform {verb}"):
            module = _load(name)
        with stopped_by_signals():
            module.main(config)
    except Exception as error:
        if not _is_users(error) or os.environ.get("ECHOFORM_TRACEBACK") == "1":
            raise
        from echoform_train.engine.presets import with_flags

        print(f"echoform {verb}: {with_flags(str(error), settings.Config)}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        if not stopped.told:
            print(f"echoform {verb}: stopped by {stopped.name}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print(f"\nechoform {verb}: interrupted", file=sys.stderr)
        sys.exit(130)


def _answer(args: list[str]) -> NoReturn:
    """Answer a command line without a verb: --version, help of the program or of a group of verbs, or a typo."""
    if args == ["--version"]:
        from echoform import __version__

        print(f"echoform {__version__}")
        sys.exit(0)
    words = [word for word in args if not word.startswith("-")]
    is_help = args != words and args[-1] in ("--help", "-h")
    group = [verb for verb in VERBS if words and verb.split()[0] == words[0]]
    if is_help and (not words or (group and len(words) == 1)):
        print(_usage(group or list(VERBS)))
        sys.exit(0)
    print(_usage(group or list(VERBS)), file=sys.stderr)
    if words and words != (group or [""])[0].split()[:1]:
        print(f"\nechoform: {_unknown(words)}", file=sys.stderr)
    elif args and not words:
        print(f"\nechoform: a verb must come first, got {args[0]}", file=sys.stderr)
    sys.exit(2)


def _unknown(words: list[str]) -> str:
    """The sentence about words that are no verb, with the verb that looks most like them."""
    known = {verb.partition(" --")[0] for verb in VERBS} | {verb.split()[0] for verb in VERBS}
    # A verb has one or two words; the rest are its arguments.
    tries = [" ".join(words[:count]) for count in (2, 1)]
    near = [close[0] for text in tries if (close := difflib.get_close_matches(text, sorted(known), n=1, cutoff=0.7))]
    shown = tries[0] if any(verb.split()[0] == words[0] for verb in VERBS) else words[0]
    return f"unknown verb {shown[:80]}" + (f", did you mean {near[0]}?" if near else "")


def _is_users(error: Exception) -> bool:
    """Whether an error is something that the user can mend.

    An OSError is the system's answer: a file that is missing or not readable, a full disk, no way to the Hub.
    """
    hub = sys.modules.get("echoform.hub")  # imported by whatever has pushed
    return isinstance(error, UserError | OSError) or (hub is not None and isinstance(error, hub.PushError))


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

    It may import thousands of modules, which stay until the process ends. The garbage collector is off meanwhile and
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
    from echoform_train.engine.flag_help import parse_flags  # `echoform --help` does not need it

    presets = getattr(module, "PRESETS", None)
    if presets is None:
        return parse_flags(module.Config, args, prog)
    # The preset has to be known before tyro parses the flags, because it changes their defaults.
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", choices=presets, default=next(iter(presets)))
    name = finder.parse_known_args(args)[0].preset
    return parse_flags(module.Config, args, prog, presets[name])


def _usage(names: Sequence[str]) -> str:
    width = max(map(len, names))
    verbs = "\n".join(f"  {name:<{width}}  {VERBS[name][1]}" for name in names)
    return f"usage: echoform VERB [flags]\n\n{verbs}\n\n`echoform VERB --help` lists the flags of a verb."


if __name__ == "__main__":
    main()
