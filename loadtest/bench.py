"""All benchmarks, one table: planning against the field's solver, serving against Triton alone and other servers.

    python -m loadtest.bench [--short]

Ends with one line of JSON, that of both halves.
"""

import argparse
import json
import sys
from dataclasses import replace

from loadtest import bench_plan, bench_serve
from loadtest.serve import closed_loop

SHORT_PLAN, SHORT_SERVE = ["together"], ["memory"]
"""Of each half the part that the short forms of its own command leave out."""


def main() -> None:
    """Measure, write both halves, print their goals together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a smoke test of one part of each; writes nothing")
    short = parser.parse_args().short
    closed_loop.require()  # what is missing is said before the first half has taken its quarter of an hour
    plan = bench_plan.measure(quick=short, wanted=SHORT_PLAN if short else list(bench_plan.PARTS))
    if not short:
        bench_plan.keep(plan)
    wanted = SHORT_SERVE if short else ["start", *bench_serve.SECTIONS]
    serve = bench_serve.measure(bench_serve.QUICK if short else bench_serve.FULL, wanted)
    if not short:
        bench_serve.keep(serve)
    both = replace(plan, goals=plan.goals + serve.goals, remarks=plan.remarks + serve.remarks)
    print(replace(both, noise=f"planning: {plan.noise}; serving: {serve.noise}").text())
    print(json.dumps(plan.summary() | serve.summary() | {"missed": both.summary()["missed"]}))


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
