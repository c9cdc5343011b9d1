"""All settings of all trainers, for tests that must not miss one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from echoform_train.trainers import conv_ae, depth_ae, distill, kl_vae, ldm, vq_vae

TRAINERS = (vq_vae, kl_vae, ldm, distill, depth_ae, conv_ae)


def all_fields(config_class: Any, config: Any) -> Iterator[tuple[Any, str, Any, Any]]:
    """Class, name, type with its annotations and value of every setting, those of nested dataclasses among them."""
    plain, hints = get_type_hints(config_class), get_type_hints(config_class, include_extras=True)
    for field in fields(config_class):
        value = getattr(config, field.name, None)
        if is_dataclass(plain[field.name]):
            yield from all_fields(plain[field.name], value)
        else:
            yield config_class, field.name, hints[field.name], value
