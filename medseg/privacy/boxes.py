"""Boxes: rectangles of pixels in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Box", "merged"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels; rows and columns, the ends not included."""

    top: int
    left: int
    bottom: int
    right: int


def merged(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that overlap, joined until none do."""
    apart: list[Box] = []
    waiting = list(boxes)
    while waiting:
        box = waiting.pop()
        meeting = next((other for other in apart if _overlap(box, other)), None)
        if meeting is None:
            apart.append(box)
            continue
        apart.remove(meeting)
        waiting.append(
            Box(
                min(box.top, meeting.top),
                min(box.left, meeting.left),
                max(box.bottom, meeting.bottom),
                max(box.right, meeting.right),
            )
        )
    return apart


def _overlap(one: Box, other: Box) -> bool:
    return one.top < other.bottom and other.top < one.bottom and one.left < other.right and other.left < one.right
