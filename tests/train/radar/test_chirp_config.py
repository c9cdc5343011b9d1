from __future__ import annotations

import json

import pytest

from echoform_train.radar.chirp_config import read_chirp_config
from walker_cubes import demo_config, studio_config


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("frameCfg", "frameCfg 0"), "the line frameCfg must have a value"),
        (("profileCfg 0 77", "profileCfg 0 x"), "value 2 of the line profileCfg must be a number, it is 'x'"),
        (("chirpCfg 0 0 0", "chirpCfg 5 5 0"), "chirp 0 of the frame must have a chirpCfg"),
        (("lvdsStreamCfg -1 0", "lvdsStreamCfg -1 1"), r"it streams headers \(HSI\)"),
        (("channelCfg 3", "channelCfg 0"), "receivers must be above 0"),
        (("frameCfg 0 0", "advFrameCfg 0 0"), "advanced frames"),
        (("channelCfg", "channel"), "must have the line channelCfg"),
    ],
)
def test_a_cfg_that_cannot_be_used_says_why(tmp_path, change, rule):
    text = demo_config(samples=64, transmitters=1, receivers=2, loops=128, pulse_us=200, frame_ms=62.5)
    text = text.replace("frameCfg 0 0 128 0 62.5 1 0", change[1]) if change[0] == "frameCfg" else text.replace(*change)
    (tmp_path / "a.cfg").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.cfg cannot be used as --chirp-config: .*{rule}"):
        read_chirp_config(tmp_path / "a.cfg")


def test_a_studio_json_without_what_is_needed_says_what_it_holds(tmp_path):
    content = json.loads(studio_config(samples=64, transmitters=1, receivers=4, loops=16, pulse_us=200, frame_ms=62.5))
    del content["mmWaveDevices"][0]["rfConfig"]["rlProfiles"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have the list rlProfiles, this one has rlChanCfg_t, rlAdcOutCfg_t"):
        read_chirp_config(tmp_path / "a.json")
