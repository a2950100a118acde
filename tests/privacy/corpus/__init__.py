"""Hostile corpora: small files, each with identities of its own in a place where tools have missed them.

Everything is made from a seed. No two files share a name, a number or a date; `Planted.identities` lists what must be
found nowhere in the output. One module a family of formats; `corpora` puts them together.
"""

from __future__ import annotations

from tests.privacy.corpus.slices import CT, MR, PT, SC, SEG, US, Planted, Who, before_pixels, image, raw_element, save

__all__ = [
    "CT", "MR", "PT", "SC", "SEG", "US", "Planted", "Who", "before_pixels", "image", "raw_element", "save",
]  # fmt: skip
