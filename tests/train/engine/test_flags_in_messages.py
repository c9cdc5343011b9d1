"""What the program says of a setting names its flag."""

from __future__ import annotations

import pytest

from echoform_train.commands import prepare, prepare_depth
from echoform_train.engine.presets import with_flags
from echoform_train.trainers import conv_ae


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("gap_windows must be in 0..9, got -1", "--gap-windows must be in 0..9, got -1"),
        ("resolution must be at least 2, got 1", "--resolution must be at least 2, got 1"),
        ("window_s must hold one column, see hop_s", "--window-s must hold one column, see --hop-s"),
        ("db_min must be below db_max, got 5", "--db-min must be below --db-max, got 5"),
        ("a.png cannot be used: window_s must be above 0", "a.png cannot be used: --window-s must be above 0"),
        # Words of files stay as they are in the file.
        ("window_s in axes.json must be above 0", "window_s in axes.json must be above 0"),
        ("/data/axes.json must have a window_s above 0", "/data/axes.json must have a window_s above 0"),
        ("start_s of line 3 must be a number", "start_s of line 3 must be a number"),
        ("users must not differ only in case", "users must not differ only in case"),
    ],
)
def test_the_names_of_settings_become_flags_and_those_of_columns_do_not(given: str, shown: str):
    assert with_flags(given, prepare.Config) == shown


@pytest.mark.parametrize("module", [prepare_depth, conv_ae])
def test_images_that_are_no_windows_have_a_gap_of_images(module):
    shown = with_flags("gap_windows must be in 0..9, got -1", module.Config)
    assert shown == "--gap-images must be in 0..9, got -1"
