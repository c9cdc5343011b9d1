"""CITATION.cff is a citation file that tools read."""

from __future__ import annotations

import yaml

import echoform
from doc_pages import ROOT


def test_citation_has_what_the_format_asks_for_and_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["type"] == "software"
    assert citation["license"] == "Apache-2.0"
    assert str(citation["version"]) == echoform.__version__
    assert all({"name"} <= author.keys() or {"family-names"} <= author.keys() for author in citation["authors"])
