"""What `wmserve evaluate` prints: a table, what pairs of policies say, what was refused, and a line of JSON."""

import argparse
import json
import statistics
from dataclasses import dataclass

from wmserve.intervals import paired, wilson

from wmserve_client.environments.policies import Refusals

SERVED, PEER, RANDOM, EXPERT = "wmserve", "peer", "random", "expert"


@dataclass(frozen=True)
class Row:
    """What a policy came to."""

    name: str
    reached: tuple[bool, ...]
    refusals: Refusals

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %."""
        return wilson(sum(self.reached), len(self.reached))


def report(rows: list[Row], options: argparse.Namespace, budget: int, left_out: int) -> None:
    """Print the table, what pairs say, and the figures."""
    figures: dict[str, object] = {
        "world": options.world,
        "environment": options.env,
        "episodes": options.episodes,
        "budget": budget,
        "left_out": left_out,
    }
    served = rows[0]
    for row in rows:
        low, high = row.interval
        share = sum(row.reached) / len(row.reached)
        print(
            f"{row.name:10} {100 * share:6.1f} %  [{100 * low:5.1f}, {100 * high:5.1f}]  "
            f"{sum(row.reached)}/{len(row.reached)}"
        )
        figures |= {row.name: percent(share), f"{row.name}_low": percent(low), f"{row.name}_high": percent(high)}
    for row in rows[1:]:
        pairs = paired(served.reached, row.reached)
        low, high = pairs.interval
        print(
            f"{SERVED} less {row.name}: {100 * pairs.difference:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]; "
            f"alone solved {pairs.first_only} and {pairs.second_only}, p = {pairs.p_value:.2g}"
        )
        key = f"{SERVED}_less_{row.name}"
        figures |= {key: percent(pairs.difference), f"{key}_low": percent(low), f"{key}_high": percent(high)}
    counts = served.refusals
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.reasons.items()))
    print(f"refused: {counts.refused} of {counts.plans} plans, in {counts.episodes} episodes{why and f' ({why})'}")
    print(f"{left_out} problems that were solved at the start were left out")
    figures |= {
        "plans": counts.plans,
        "refused": counts.refused,
        "refused_reasons": dict(counts.reasons),
        "plan_ms_median": round(statistics.median(counts.plan_ms), 1),
        "plans_at_once": options.at_once,
        "reached": {row.name: "".join("1" if one else "0" for one in row.reached) for row in rows},
    }
    print(json.dumps(figures))


def percent(share: float) -> float:
    """In percent, for people."""
    return round(100 * share, 2)
