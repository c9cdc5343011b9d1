"""echoform from Python: a function for each command, which takes its settings by keyword and returns the result.

A function does what the command of the same name does. Settings have the names of the flags, with an underscore for
each dash, and the same defaults:

    from echoform_train import generate, score_generated, simulate, train_ldm, train_vq_vae

    walkers = simulate("walkers", users=4, resolution=64)
    vq_vae = train_vq_vae(data=walkers, output_dir="vq")
    ldm = train_ldm(data=walkers, first_stage=vq_vae.output_dir, output_dir="ldm", on_validation=print)
    print(ldm)
    images = generate(pipeline=ldm.exported, output_dir="generated")
    scores = score_generated(
        data=walkers, split_file=vq_vae.output_dir / "split.json", generated_dir=[images.folder]
    )
    print(scores)

`data` is a folder, the id of a data set on the Hub, or a `datasets.Dataset`. `help(train_ldm)` explains every setting.

A module is imported only when one of its names is first used.
"""

from __future__ import annotations

from importlib import import_module

from echoform_train.commands import CALLS, command_of

_OTHERS = {
    "TrainingResult": "engine.training_result",
    "UserError": "engine.errors",
    "figure": "data.figure",
    "result_figure": "data.figure",
    "save_figure": "data.figure",
}
"""Further names, and the modules that have them."""

__all__ = [*CALLS, *_OTHERS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name in CALLS:
        from echoform_train.engine.python_calls import python_call

        found: object = python_call(command_of(name))
    elif name in _OTHERS:
        found = getattr(import_module(f"{__name__}.{_OTHERS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it exports {', '.join(__all__)}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
