"""Losses: built from a study's ``loss`` section; each a sum of terms on logits and a target."""

from medseg.losses.build import DeepSupervisionLoss, WeightedLoss, build_loss

__all__ = ["DeepSupervisionLoss", "WeightedLoss", "build_loss"]
