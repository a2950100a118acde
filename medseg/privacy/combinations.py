"""Combinations: whether sums that are told, added and subtracted, give away a sum over few patients.

One release beside another is one subtraction; four releases, or the means of labels beside the mean over labels, need
more than one. Every mean whose count is known is an equation in the patients' own values. An attacker may combine all
equations by linear algebra, so what counts is every combination of them: none may rest on fewer patients than the
threshold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from medseg.types import FloatArray

__all__ = ["Value", "isolates_few"]

Value = tuple[str, ...]
"""One value that sums are made of; its first part says whose it is."""
_MOST_CHOICES = 20_000
_ZERO = 1e-9


def isolates_few(sums: Sequence[Mapping[Value, float]], *, threshold: int) -> bool:
    """Whether a combination of some sums rests on at least one patient and on fewer than the threshold.

    Values that stand in every sum with the same weights can't be told apart, so they are taken together (an atom). A
    combination that rests on few patients leaves out all atoms of many patients: only such combinations are searched,
    and of those the ones that leave out as much as they can. Where these are too many to be tried, the answer is yes.

    Args:
        sums: Weight of each value in each sum.
        threshold: Smallest number of patients that a combination may rest on.

    Example:
        >>> people = [f"P{i}" for i in range(40)]
        >>> whole = {(p,): 1.0 for p in people}
        >>> isolates_few([whole], threshold=10)
        False
        >>> isolates_few([whole, {(p,): 1.0 for p in people[1:]}], threshold=10)
        True
    """
    table, owners = _atoms(sums)
    is_small = np.array([len(people) < threshold for people in owners], dtype=bool)
    left = _null_space(table[:, ~is_small].T)
    rest = left @ table[:, is_small]
    few = [people for people in owners if len(people) < threshold]
    basis = _row_space(rest)
    rank = len(basis)
    if rank == 0:
        return False
    if len(frozenset[str]().union(*few)) < threshold:
        return True
    if math.comb(len(few), rank - 1) > _MOST_CHOICES:
        return True
    return any(
        _rests_on_few(basis, chosen, few, threshold) for chosen in itertools.combinations(range(len(few)), rank - 1)
    )


def _atoms(sums: Sequence[Mapping[Value, float]]) -> tuple[FloatArray, list[frozenset[str]]]:
    """Weights (sum, atom) and the patients of each atom."""
    values = list(dict.fromkeys(value for each in sums for value in each))
    places = {value: number for number, value in enumerate(values)}
    weights = np.zeros((len(sums), len(values)))
    for row, each in zip(weights, sums, strict=True):
        row[[places[value] for value in each]] = list(each.values())
    atoms, of_value = np.unique(weights, axis=1, return_inverse=True)
    people: list[set[str]] = [set() for _ in range(atoms.shape[1])]
    for value, atom in zip(values, of_value.ravel().tolist(), strict=True):
        people[atom].add(value[0])
    return atoms, [frozenset(of_atom) for of_atom in people]


def _rests_on_few(basis: FloatArray, chosen: Sequence[int], owners: Sequence[frozenset[str]], threshold: int) -> bool:
    """Whether the combination that leaves out the chosen atoms, where there is just one, rests on few patients."""
    combined = _null_space(basis[:, list(chosen)].T) if chosen else np.eye(len(basis))
    if len(combined) != 1:
        return False
    support = np.flatnonzero(np.abs(combined[0] @ basis) > _ZERO).tolist()
    return 0 < len(frozenset[str]().union(*(owners[atom] for atom in support))) < threshold


def _null_space(matrix: FloatArray) -> FloatArray:
    """Vectors, one a row, that the matrix (equations, unknowns) sends to 0."""
    if not matrix.size:
        return np.eye(matrix.shape[1])
    _, strengths, rows = np.linalg.svd(matrix, full_matrices=True)
    rank = int(np.count_nonzero(strengths > _ZERO * max(1.0, float(strengths[0]))))
    vectors: FloatArray = rows[rank:]
    return vectors


def _row_space(matrix: FloatArray) -> FloatArray:
    """Independent rows that span those of a matrix."""
    if not matrix.size:
        return np.zeros((0, matrix.shape[1]))
    _, strengths, rows = np.linalg.svd(matrix, full_matrices=False)
    vectors: FloatArray = rows[strengths > _ZERO]
    return vectors
