"""Sampling-based planning over a cost function. Numpy alone: it runs in the gateway and beside the engines.

search(cost, problem)
  |- shaping    samples -> candidates a controller may execute (held, bounded, rate limited)
  |- algorithms Cem, ICem, Mppi: propose samples, learn from their costs
  |- search     the loop: iterations, deadline, convergence; keeps the best plan seen; can be interrupted and resumed
  |- rescoring  two cost functions as one: a coarse one for all, the exact one for the best
  |- goal       the cost function of a world: what its cost engine says, added up
  |- constraints what of it is forbidden, and how likely it is broken
  |- judging    what is found, judged by what the search did not ask
  `- slices     a search that is under way, as bytes: how it travels to the engines and back

The search is given a cost function and knows no more: no world, no wire, no Triton. Imports are relative, because the
folder is copied to where the engines run, and wmserve is not installed there.
"""

from .judging import judged
from .rescoring import coarse_to_fine
from .search import Best, Cost, Problem, Settings, State, StopReason, advance, begin, search
from .shaping import Limits, Shape

__all__ = [
    "Best",
    "Cost",
    "Limits",
    "Problem",
    "Settings",
    "Shape",
    "State",
    "StopReason",
    "advance",
    "begin",
    "coarse_to_fine",
    "judged",
    "search",
]
