"""Private plan: a plan of a differentially private study must not be decided from the patients' images.

Spacing, patch and the clipping of intensities are part of the model that is given away; medians and percentiles of the
training images in them would be a way past the noise. So the study has to fix them, from what is known without these
patients. What is left to the plan comes from the study, the device, and what kind of images they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medseg.config import PrivacyConfig, StudyConfig
from medseg.errors import PlanError
from medseg.planning.plan import ChannelNormalisation

__all__ = ["check_private_plan"]


def check_private_plan(
    study: StudyConfig,
    privacy: PrivacyConfig,
    *,
    fit: Literal["spacing", "image"],
    normalisation: Sequence[ChannelNormalisation],
) -> str:
    """Make sure that nothing of the plan would be measured on the patients.

    Args:
        study: What the researcher fixed.
        privacy: Its ``train.privacy``.
        fit: Whether images are resampled to a spacing or resized as a whole.
        normalisation: How intensities would be scaled.

    Returns:
        A sentence for the plan.

    Raises:
        PlanError: Something is left open that only the images could decide.
    """
    measured = {n.method for n in normalisation} & {"ct_window", "suv"}
    missing = [
        *(["plan.patch_size"] if study.plan.patch_size is None else []),
        *(["plan.spacing"] if fit == "spacing" and study.plan.spacing is None else []),
        *(["plan.normalisation: zscore"] if measured else []),
    ]
    if missing:
        raise PlanError(
            f"train.privacy: expected {', '.join(missing)} in the study, from what is known without these patients; "
            "found them left to the plan, which would measure them on the images without noise"
        )
    return (
        "Differential privacy, the unit being the patient: the noise is chosen so that one run costs epsilon "
        f"{privacy.epsilon:g}; about {privacy.patients} patients take part in a step. Nothing of this plan was "
        "measured on the images."
    )
