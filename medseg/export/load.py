"""LoadedModel: a model package made ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import medseg
from medseg.config import parse_study
from medseg.data.card import LabelInfo
from medseg.errors import ReadError
from medseg.export.dicom_source import Algorithm
from medseg.export.package import read_package
from medseg.inference.predict import Predictor, build_predictor
from medseg.planning import Plan

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model package made ready.

    Attributes:
        predictor: Predicts whole images.
        labels: Label value to name, code and colour.
        algorithm: What to call the model in a SEG.
    """

    predictor: Predictor
    labels: Mapping[int, LabelInfo]
    algorithm: Algorithm


def load_model(path: Path, *, mirror: bool = True, scratch: Path | None = None) -> LoadedModel:
    """Read a model package and build its networks on the best device here.

    Args:
        path: NAME.medseg.
        mirror: Whether mirrored copies are averaged, where the study was trained with them.
        scratch: Folder for large temporary sums.

    Raises:
        ReadError: The file is no model package of this version.
    """
    package = read_package(path)
    try:
        content = dict(package.model["study"])
        labels = {int(value): LabelInfo.model_validate(info) for value, info in package.model["labels"].items()}
        name = str(package.model["name"])
    except (KeyError, ValueError, TypeError):
        raise ReadError("the model package lacks its study or labels; package the run again") from None
    study = parse_study(content)
    if not mirror:
        study = study.model_copy(update={"inference": study.inference.model_copy(update={"mirror": False})})
    predictor = build_predictor(study, Plan.from_dict(package.model["plan"]), states=package.states, scratch=scratch)
    return LoadedModel(predictor, labels, Algorithm(name[:64], medseg.__version__, package.digest[:64]))
