"""Made from: which image and which model made each prediction of a folder, so that none is taken for another's.

Predictions of files are numbered, so the same name means another image when another folder is predicted. The record is
``.medseg-predict.jsonl`` beside the predictions: for each a digest of the image's values and grid, of what predicts,
and of the series that it refers to where the image is none. Names stand in it as digests, too: it is written before the
prediction, whose name may not pass the privacy gate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np

from medseg.data.files import append_line
from medseg.data.volume import Volume
from medseg.errors import DataError, RequestError

__all__ = ["MADE_FROM", "MadeFrom"]

MADE_FROM: Final = ".medseg-predict.jsonl"
"""Name of the record."""


class MadeFrom:
    """The record of a folder of predictions; a line torn by a kill is passed over.

    Args:
        folder: Of the predictions.
        maker: What predicts: the model's digest, and the options that change its predictions.

    Raises:
        RequestError: The folder holds predictions that something else made.
    """

    def __init__(self, folder: Path, *, maker: str) -> None:
        self._path = folder / MADE_FROM
        self._maker = hashlib.sha256(maker.encode()).hexdigest()[:16]
        self._digests: dict[str, str] = {}
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else ():
            try:
                stated = json.loads(line)
                key, digest, other = str(stated["prediction"]), str(stated["digest"]), str(stated["maker"])
            except (ValueError, KeyError, TypeError):
                continue
            if other != self._maker:
                raise RequestError(
                    "the folder holds predictions of another model, or with other options (--fast, --support, "
                    "--internal); choose another folder"
                )
            self._digests[key] = digest

    def begin(self, name: str, volume: Volume, *, series: str = "") -> None:
        """Note an image before its prediction is written.

        Args:
            name: Of the prediction, with its format.
            volume: The image.
            series: What names the series that the prediction refers to, of an image that is none itself.
        """
        (digest,) = self._digests_of(volume, (series,))
        key = self._key(name)
        if self._digests.get(key) == digest:
            return
        append_line(self._path, json.dumps({"prediction": key, "maker": self._maker, "digest": digest}))
        self._digests[key] = digest

    def require_same(self, name: str, volume: Volume, *, series: Collection[str] = ("",)) -> None:
        """Refuse a prediction that is there but isn't this image's.

        Args:
            name: Of the prediction, with its format.
            volume: The image.
            series: What names each series that the prediction may refer to.

        Raises:
            DataError: It was made from another image, refers to another series, or nothing says from which.
        """
        if self._digests.get(self._key(name)) not in self._digests_of(volume, series):
            told = "" if "" in series else ", or refers to a series that --dicom-source doesn't hold"
            raise DataError(
                f"the folder holds a prediction of this name that was made from another image{told}; choose another "
                "folder"
            )

    def _key(self, name: str) -> str:
        return hashlib.sha256(f"{self._maker} {name}".encode()).hexdigest()[:16]

    def _digests_of(self, volume: Volume, series: Collection[str]) -> list[str]:
        """Of the image and each of the series; an empty one counts as none."""
        digest = hashlib.sha256(f"{self._maker} {volume.array.shape} {volume.array.dtype}".encode())
        digest.update(np.round(volume.affine, 4).tobytes())
        for plane in np.moveaxis(volume.array, -1, 0):
            digest.update(np.ascontiguousarray(plane).data)
        found = []
        for name in series:
            both = digest.copy()
            both.update(name.encode())
            found.append(both.hexdigest())
        return found
