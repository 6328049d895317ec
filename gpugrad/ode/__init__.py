"""Floor 7: ordinary differential equations, and gradients of what solves them."""

from .dense import Solution as Solution, dense as dense
from .solving import solve as solve
