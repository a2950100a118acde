"""Networks: built from a study's ``model`` section and a plan."""

from medseg.models.build import build_model
from medseg.models.weights import TransferReport, transfer_weights

__all__ = ["TransferReport", "build_model", "transfer_weights"]
