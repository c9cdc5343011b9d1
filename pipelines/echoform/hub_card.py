"""The README of a Hub repository: merging a new card into the one that is there, and a card for a model without one."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import yaml

from echoform.sources import find_file

CARD = "README.md"
PRINTED = "echoform_printed"
"""Metadata key of a card: hash of the text that echoform wrote. If the text has another hash, a person edited it."""

_PLAIN_CARD = """---
library_name: diffusers
tags:
- echoform
---

# {name}

A `{model_class}` for diffusers, pushed by its `push_to_hub`; this card has no facts about its training.

```python
from diffusers import {loader}

{variable} = {loader}.from_pretrained("{repo_id}"{options}, trust_remote_code=True)
```
"""


def merge_card(new: str, existing: str) -> str:
    """The card to push to a repository that may already have one.

    If the existing text was edited or written by a person (see `PRINTED`), it stays; otherwise the new text replaces
    it. Of the metadata, keys of the new card are renewed, its tags are added, and everything else stays.

    Args:
        new: The new card, Markdown with a YAML block.
        existing: The card in the repository; empty if there is none.

    Returns:
        The merged card. Merging the same card into it again changes nothing.

    Raises:
        ValueError: If a YAML block is no mapping.
    """
    # If the hash of the text equals the recorded one, nobody edited the text since echoform wrote it.
    metadata, text = _split(new)
    old_metadata, old_text = _split(existing)
    printed_by_us = old_metadata.get(PRINTED) == _hash(old_text)
    keep_text = bool(old_text.strip()) and not printed_by_us and _hash(old_text) != _hash(text)

    merged = old_metadata | metadata
    if PRINTED in old_metadata and "model-index" not in metadata:
        merged.pop("model-index", None)  # scores of the weights that this push replaces
    if tags := old_metadata.get("tags"):
        merged["tags"] = [*tags, *(tag for tag in metadata.get("tags", []) if tag not in tags)]
    if not keep_text:
        merged[PRINTED] = _hash(text)
    elif merged == old_metadata:
        return existing
    block = yaml.safe_dump(merged, sort_keys=False, allow_unicode=True, width=math.inf)
    return f"---\n{block}---\n{old_text if keep_text else text}"


def card_of_model(
    model: Any, repo_id: str, loading: dict[str, str], token: str | None = None
) -> dict[str, Path | bytes]:
    """Card for a repository that has none, and the images that the card shows.

    A pipeline that was loaded from a folder or repository keeps the card from there, with its code snippet changed to
    load the new repository. Every other model gets a card of a few lines.

    Args:
        model: A pipeline or model of diffusers.
        repo_id: The repository that gets the card.
        loading: Arguments with which `from_pretrained` loads these weights, such as {"revision": "next"}.
        token: Token of the Hub, for reading the source's card.

    Returns:
        By path in the repository: content, or the local file that holds it.
    """
    options = "".join(f', {name}="{value}"' for name, value in loading.items())
    is_pipeline = model.config_name == "model_index.json"
    source = model.config.get("_name_or_path") if is_pipeline else None
    card_file = None if source is None else _find_if_readable(source, CARD, token)
    if source is None or card_file is None:
        card = _PLAIN_CARD.format(
            name=repo_id.rpartition("/")[2],
            model_class=type(model).__name__,
            loader="DiffusionPipeline" if is_pipeline else "AutoModel",
            variable="pipe" if is_pipeline else "model",
            repo_id=repo_id,
            options=options,
        )
        return {CARD: merge_card(card, "").encode()}

    # The snippet of the source's card loads the source, or "." where the card lies in an exported folder.
    card = re.sub(
        rf'from_pretrained\("(?:\.|{re.escape(str(source))})"([^)\n]*\)).*',
        lambda call: f'from_pretrained("{repo_id}"{options}{call[1]}',
        card_file.read_text(encoding="utf-8"),
    )
    shown = re.findall(r"!\[[^\]]*\]\(<?(\w[\w./-]*)>?\)", card)
    found = {name: _find_if_readable(source, name, token) for name in shown if ".." not in name}
    return {CARD: card.encode()} | {name: path for name, path in found.items() if path is not None}


def _find_if_readable(source: str, name: str, token: str | None) -> Path | None:
    try:
        return find_file(source, name, token=token)
    except FileNotFoundError:  # the source was deleted after the model was loaded
        return None


def _split(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card."""
    card = card.replace("\r\n", "\n")
    block = re.match(r"---[ \t]*\n(.*?)^---[ \t]*$\n?", card, re.DOTALL | re.MULTILINE)
    if block is None:
        return {}, card
    try:
        metadata = yaml.safe_load(block[1]) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"the metadata of {CARD} must be YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"the metadata of {CARD} must be a YAML mapping, got {type(metadata).__name__}")
    return metadata, card[block.end() :]


def _hash(text: str) -> str:
    """Hash of a card's text; blank lines around it do not count."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
