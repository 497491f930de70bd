"""Sampling-based planning over a cost function, and nothing else: no world, no wire, no Triton.

search(cost, problem, settings, seed)
  |- shaping    samples -> candidates a controller may execute (held, bounded, rate limited)
  |- algorithms Cem, ICem, Mppi: propose samples, learn from their costs
  `- search     the loop: iterations, deadline, convergence; keeps the best plan seen
"""

from wmserve_server.planner.search import Cost, Plan, Settings, StopReason, search
from wmserve_server.planner.shaping import Limits, Shape

__all__ = ["Cost", "Limits", "Plan", "Settings", "Shape", "StopReason", "search"]
