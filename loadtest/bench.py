"""All benchmarks, one table: planning against the field's solver, serving against Triton alone and other servers.

python -m loadtest.bench
"""

import json
import sys
from dataclasses import replace

from loadtest import bench_plan, bench_serve
from loadtest.serve import closed_loop


def main() -> None:
    """Measure, write both halves, print their goals together."""
    closed_loop.require()  # what is missing is said before the first half has taken its quarter of an hour
    plan = bench_plan.measure(quick=False, wanted=list(bench_plan.PARTS))
    bench_plan.keep(plan)
    serve = bench_serve.measure(bench_serve.FULL, ["start", *bench_serve.SECTIONS])
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
