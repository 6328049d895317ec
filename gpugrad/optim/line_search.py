"""The step of a line search that satisfies the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5, 3.6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

ENOUGH, FLAT = 1e-4, 0.9  # how much of the slope the loss must fall by; what is left of the slope at the end


class Point(NamedTuple):
    """A point on the line: how far, the loss, the gradient and its part along the line."""

    t: float
    loss: float
    gradient: Any
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, length: float, tolerance: float, most: int
) -> tuple[Point, int]:
    """(the point that is taken, how many were tried).

    at         the point at t
    t          what is tried first
    length     the largest element of the direction: a bracket shorter than `tolerance` in it is not cut
    most       after so many tries more the best so far is taken
    """
    before, now, tries = start, at(t), 0
    ends: list[Point] = [start, now]
    while tries < most:
        if now.loss > start.loss + ENOUGH * now.t * start.slope or (tries > 1 and now.loss >= before.loss):
            ends = [before, now]
            break
        if abs(now.slope) <= -FLAT * start.slope:
            return now, tries + 1
        if now.slope >= 0:
            ends = [before, now]
            break
        t = cubic(before, now, now.t + 0.01 * (now.t - before.t), now.t * 10)
        before, now, tries = now, at(t), tries + 1
        ends = [start, now]
    low = int(ends[0].loss > ends[1].loss)
    stuck = False
    while tries < most and abs(ends[1].t - ends[0].t) * length >= tolerance:
        left, right = sorted([e.t for e in ends])
        t, margin = cubic(ends[0], ends[1], left, right), 0.1 * (right - left)
        near = min(right - t, t - left) < margin
        if near and (stuck or t >= right or t <= left):  # twice near an end: away from it
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            near = False
        stuck = near
        now, tries = at(t), tries + 1
        if now.loss > start.loss + ENOUGH * t * start.slope or now.loss >= ends[low].loss:
            ends[1 - low] = now
            low = int(ends[0].loss > ends[1].loss)
            continue
        done = abs(now.slope) <= -FLAT * start.slope
        if not done and now.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = now
        if done:
            break
    return ends[low], tries + 1


def cubic(a: Point, b: Point, least: float, most: float) -> float:
    """Where the cubic through two points with their slopes is lowest, within bounds; without a minimum, the middle."""
    d = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d * d - a.slope * b.slope
    if not 0 <= square < math.inf:
        return (least + most) / 2
    a, b = (a, b) if a.t <= b.t else (b, a)
    root = math.sqrt(square)
    below = b.slope - a.slope + 2 * root
    if below == 0:
        return (least + most) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + root - d) / below), least), most)
