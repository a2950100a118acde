"""Membership: whether one can tell from a model's fit to a patient that the patient was trained on.

Every fold's model has seen most patients and not the others, and over the folds each patient stands on both sides. So
members and non-members are the same people, drawn by the folds, and an attack finds nothing but the training. Two
attacks are made, the unit of both being the patient:

* ``loss`` (Yeom et al. 2018, IEEE CSF): the smaller the loss, the more likely a member; one threshold for all.
* ``likelihood_ratio`` (LiRA; Carlini et al. 2022, IEEE S&P): the loss is compared with that of other models on the same
  patient, so that an easy patient isn't taken for a member. The other folds' models are the reference models.

The likelihood ratio with few models. LiRA models a patient's logit-scaled confidence under "member" and under "not" as
two Gaussians. Five folds give at most four reference models a patient, too few for a variance of the patient's own;
Carlini et al. use one variance for all then. With one draw of folds there is, besides, no reference model that hasn't
seen a patient who was held out from the model under attack, so the distance of the two means can't be the patient's own
either. With one variance and one distance for all patients the ratio rises with, and only with, ::

    score(i, k) = phi(i, k) - mean over m models j != k that trained on i of phi(i, j)

phi being centred in each model; that is what is computed, and neither variance nor distance has to be estimated. m is
the number of models that trained on patient i, less one, whether or not k is among them: where it isn't, one of them is
left out by lot. Else the number of reference models would give the membership away. Without any influence of training
on phi the scores of members and non-members have the same distribution, so that the AUC is 0.5 in expectation. (With
one shift and one variance among normal phi it is Phi(shift / sd / sqrt(2 + 2 / m)).)

Medical segmenters are more open to such attacks than classifiers, since one answer is given for each voxel (He et al.
2020, ECCV, "Segmentations-Leak"; Chobola et al. 2022, arXiv 2212.01082).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import RunError
from medseg.studies.bootstrap import Clusters
from medseg.types import FloatArray

__all__ = ["FALSE_POSITIVES", "Exposure", "attack_facts", "likelihood_ratio_scores", "loss_scores", "membership_facts"]

FALSE_POSITIVES = 0.01
"""Share of non-members that may be taken for members where the true-positive rate is read off."""
_FEWEST = 10
"""With fewer patients on either side nothing is said."""
_SMALLEST_LOSS = 1e-7
_UNDEFINED = {"value": math.nan, "low": math.nan, "high": math.nan}


@dataclass(frozen=True, eq=False)
class Exposure:
    """How well each model fits each patient, and whom it was trained on.

    Attributes:
        patients: Pseudonym of each patient.
        losses: Mean loss of each patient's cases under each model, above 0, shape (patients, models); nan where it is
            not known.
        member: 1 where the model was trained on the patient, 0 where it never saw it, -1 where it is neither (the
            patient guided the training, or has no loss), shape (patients, models).
    """

    patients: tuple[str, ...]
    losses: FloatArray
    member: npt.NDArray[np.int8]


def membership_facts(exposure: Exposure, *, bootstrap: int, confidence: float, seed: int) -> dict[str, Any]:
    """Attack the models and say how well it goes.

    Args:
        exposure: Losses and memberships.
        bootstrap: Resamples of the patients for the intervals.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling and of the lot among reference models.

    Returns:
        ``unit, patients, models, false_positives, confidence, bootstrap, seed``; ``mean_loss`` of members and
        non-members; ``attacks``: for ``loss`` and ``likelihood_ratio`` what `attack_facts` gives.

    Raises:
        RunError: There are no members or no non-members.
    """
    known = np.isfinite(exposure.losses)
    member, unseen = known & (exposure.member == 1), known & (exposure.member == 0)
    if not member.any() or not unseen.any():
        raise RunError(
            "a membership test needs patients that the models were trained on and others that they never saw; "
            "cross-validate the study (a model of all cases has nobody left to compare with)"
        )
    clusters = Clusters.draw(exposure.patients, resamples=bootstrap, seed=seed)
    attacks = {
        "loss": loss_scores(exposure),
        "likelihood_ratio": likelihood_ratio_scores(exposure, generator=np.random.default_rng((seed, 31))),
    }
    return {
        "unit": "patient",
        "patients": len(exposure.patients),
        "models": exposure.losses.shape[1],
        "false_positives": FALSE_POSITIVES,
        "interval": "percentile bootstrap over patients",
        "confidence": confidence,
        "bootstrap": bootstrap,
        "seed": seed,
        "mean_loss": {
            "members": float(exposure.losses[member].mean()),
            "others": float(exposure.losses[unseen].mean()),
        },
        "attacks": {
            name: attack_facts(scores, exposure.member, resamples=clusters.weights, confidence=confidence)
            for name, scores in attacks.items()
        },
    }


def loss_scores(exposure: Exposure) -> FloatArray:
    """Score of the loss attack: minus the loss, nan where a patient is neither member nor not."""
    scores: FloatArray = np.where(exposure.member >= 0, -exposure.losses, math.nan)
    return scores


def likelihood_ratio_scores(exposure: Exposure, *, generator: np.random.Generator) -> FloatArray:
    """Score of the likelihood-ratio attack, as derived above.

    Args:
        exposure: Losses and memberships.
        generator: Draws the reference model that is left out.

    Returns:
        Shape (patients, models); nan where a patient has fewer than two models that trained on it.
    """
    # The confidence exp(-loss) on the logit scale, where it is near to normal (Carlini et al. 2022).
    loss = np.maximum(exposure.losses, _SMALLEST_LOSS)
    phi = -loss - np.log(-np.expm1(-loss))
    phi = np.where(exposure.member >= 0, phi, math.nan)
    phi = phi - np.array([np.mean(column[np.isfinite(column)]) if np.isfinite(column).any() else 0 for column in phi.T])
    scores = np.full(phi.shape, math.nan)
    for patient, row in enumerate(phi):
        trained = np.flatnonzero((exposure.member[patient] == 1) & np.isfinite(row))
        if len(trained) < 2:
            continue
        left_out = int(generator.choice(trained))
        for model in np.flatnonzero(np.isfinite(row)):
            reference = trained[trained != (model if model in trained else left_out)]
            scores[patient, model] = row[model] - row[reference].mean()
    return scores


def attack_facts(
    scores: FloatArray, member: npt.NDArray[np.int8], *, resamples: npt.NDArray[np.int64], confidence: float
) -> dict[str, Any]:
    """AUC and true-positive rate of an attack, with intervals.

    Each patient has the same weight, spread evenly over the models. The AUC compares each member with each non-member
    but never a patient with itself. The threshold for the true-positive rate is the lowest at which no more than one in
    a hundred non-members are taken for members.

    Args:
        scores: Higher for a member, nan where not attacked, shape (patients, models).
        member: 1, 0 or -1 as in `Exposure`, shape (patients, models).
        resamples: How often each patient is drawn in each resample, shape (resamples, patients).
        confidence: Coverage of the intervals.

    Returns:
        ``members`` and ``others`` (patients on each side), ``auc`` and ``tpr`` with ``value, low, high`` and
        ``guessing``, the value that chance gives; nan with fewer than ten patients on a side, the true-positive rate
        with fewer than a hundred non-members. The threshold being one of the non-members' scores, chance gives a
        true-positive rate above the false-positive rate: (k + 1) / (n + 1) where k of n may be taken for members.
    """
    of_members, of_others = (np.where(member == side, scores, math.nan) for side in (1, 0))
    inside, outside = _Side.of(of_members), _Side.of(of_others)
    once = np.ones((1, len(scores)))
    allowed = math.floor(FALSE_POSITIVES * outside.count * (1 + 1e-9))
    facts: dict[str, Any] = {
        "members": inside.count,
        "others": outside.count,
        "auc": {**_UNDEFINED, "guessing": 0.5},
        "tpr": {**_UNDEFINED, "guessing": (allowed + 1) / (outside.count + 1)},
    }
    if min(inside.count, outside.count) < _FEWEST:
        return facts
    wins = _win_shares(of_members, of_others)
    facts["auc"] |= _estimate(
        _auc(wins, inside, outside, once), _auc(wins, inside, outside, resamples), confidence=confidence
    )
    if outside.count >= round(1 / FALSE_POSITIVES):
        facts["tpr"] |= _estimate(
            _true_positives(inside, outside, once), _true_positives(inside, outside, resamples), confidence=confidence
        )
    return facts


@dataclass(frozen=True, eq=False)
class _Side:
    """The scores of the members or of the non-members.

    Attributes:
        some: Whether each patient has a score on this side, shape (patients,).
        scores: All scores, falling.
        patient: Patient of each.
        share: One over the number of scores of that patient.
    """

    some: npt.NDArray[Any]
    scores: FloatArray
    patient: npt.NDArray[np.intp]
    share: FloatArray

    @classmethod
    def of(cls, scores: FloatArray) -> _Side:
        """Take the scores that aren't nan, shape (patients, models)."""
        known = np.isfinite(scores)
        patient, model = np.nonzero(known)
        values = scores[patient, model]
        order = np.argsort(-values, kind="stable")
        share = 1.0 / np.maximum(known.sum(axis=1), 1)
        return cls(np.asarray(known.any(axis=1)), values[order], patient[order], share[patient[order]])

    @property
    def count(self) -> int:
        """Patients on this side."""
        return int(self.some.sum())


def _win_shares(inside: FloatArray, outside: FloatArray) -> FloatArray:
    """How often patient i as a member scores above patient j as a non-member, ties half, shape (patients, patients)."""
    wins = np.zeros((len(inside), len(outside)), dtype=np.float32)
    pairs = np.maximum(np.isfinite(inside).sum(axis=1)[:, None] * np.isfinite(outside).sum(axis=1)[None], 1)
    for one in inside.T:
        rows = np.flatnonzero(np.isfinite(one))
        for other in outside.T:
            columns = np.flatnonzero(np.isfinite(other))
            first, second = one[rows, None], other[None, columns]
            wins[np.ix_(rows, columns)] += (first > second) + np.float32(0.5) * (first == second)
    wins /= pairs
    np.fill_diagonal(wins, 0.0)
    return wins


def _auc(wins: FloatArray, inside: _Side, outside: _Side, weights: npt.NDArray[Any]) -> FloatArray:
    """AUC of each resample; nan where one holds no pair of different patients."""
    drawn = weights.astype(np.float32)
    total = np.einsum("rp,rp->r", (drawn * inside.some) @ wins, drawn * outside.some, dtype=np.float64)
    exact = weights.astype(np.float64)
    pairs = (exact @ inside.some) * (exact @ outside.some) - (exact**2) @ (inside.some & outside.some)
    auc: FloatArray = np.divide(total, pairs, out=np.full(len(weights), math.nan), where=pairs > 0)
    return auc


def _true_positives(inside: _Side, outside: _Side, weights: npt.NDArray[Any]) -> FloatArray:
    """Share of the members above the threshold that at most `FALSE_POSITIVES` of the non-members exceed."""
    others = np.cumsum(weights[:, outside.patient] * outside.share, axis=1)
    # The first non-member that may not be exceeded; rounding must not move it by one.
    allowed = FALSE_POSITIVES * others[:, -1] * (1 + 1e-9)
    threshold = outside.scores[np.argmax(others > allowed[:, None], axis=1)]
    found = np.cumsum(weights[:, inside.patient] * inside.share, axis=1)
    above = np.searchsorted(-inside.scores, -threshold, side="left")
    rows = np.arange(len(weights))
    hits = np.where(above > 0, found[rows, np.maximum(above - 1, 0)], 0.0)
    rates: FloatArray = np.divide(hits, found[:, -1], out=np.full(len(weights), math.nan), where=found[:, -1] > 0)
    return rates


def _estimate(value: FloatArray, resampled: FloatArray, *, confidence: float) -> dict[str, float]:
    tail: Sequence[float] = ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = np.nanquantile(resampled, tail)
    return {"value": float(value[0]), "low": float(low), "high": float(high)}
