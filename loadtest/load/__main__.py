"""`make load`: a server of its own, users by locust up to the knee and in bursts, an open loop beside; a page of plots.

    python -m loadtest.load [--seconds 64] [--peak 128] [--out build/load]

Ends with one line of JSON. It is bounded: a ramp and half as long a run of bursts, and the open loop's rates.
"""

import argparse
import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest import machine
from loadtest.load import knee, open_rates, page
from loadtest.load.samples import Sampler
from loadtest.serving import ROOT, Server, running

LOCUSTFILE = ROOT / "loadtest" / "load" / "locustfile.py"
PICTURE, RESULTS = ROOT / "docs" / "load.png", ROOT / "loadtest" / "results" / "load.json"
USERS = ("JsonAgent", "BinaryAgent", "Robot", "Model")
KEPT_BACK_S = 60


def swarm(server: Server, folder: Path, shape: str, seconds: float, peak: int) -> dict[str, int]:
    """Run locust; requests and failures. RuntimeError when locust itself fails."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--host", server.http, "--grpc-address", server.grpc, "--exit-code-on-error", "0"]
    command += ["--shape", shape, "--seconds", f"{seconds:g}", "--peak", str(peak), *USERS]
    command += ["--csv", str(folder / shape), "--csv-full-history", "--html", str(folder / f"{shape}.html")]
    with (folder / f"{shape}.log").open("wb") as log:
        ended = subprocess.run(
            command, cwd=ROOT, stdout=log, stderr=log, timeout=seconds + KEPT_BACK_S, check=False
        ).returncode
    if ended:
        raise RuntimeError(f"locust failed:\n{(folder / f'{shape}.log').read_text()[-2000:]}")
    with (folder / f"{shape}_stats.csv").open(newline="") as lines:
        total = next(row for row in csv.DictReader(lines) if row["Name"] == "Aggregated")
    return {"requests": int(total["Request Count"]), "failures": int(total["Failure Count"])}


def measure(server: Server, folder: Path, seconds: float, peak: int, asked: Sequence[int]) -> dict[str, Any]:
    """All of it: the summary, and the page beside."""
    with Sampler(server.http) as sampler:
        ramp = swarm(server, folder, "ramp", seconds, peak)
    burst = swarm(server, folder, "burst", seconds / 2, peak)
    found = knee.history(folder / "ramp_stats_history.csv")
    steps = knee.steps(found)
    turn = knee.knee(steps)
    rates = list(open_rates.measured(server, max(1.0, seconds / 15), asked))
    summary = {
        "ok": not ramp["failures"] and server.get("/readyz")[0] == 200,
        "checked": ramp["requests"] + burst["requests"],
        "failed": ramp["failures"] + burst["failures"],
        "ramp": ramp,
        "burst": burst,
        "knee": dataclasses.asdict(turn),
        "open_loop": [dataclasses.asdict(rate) for rate in rates],
        "shed": round(sum(sample.rates["shed"] for sample in sampler.samples)),
        "machine": machine.describe("locust"),
    }
    page.draw(found, sampler.samples, steps, turn, rates).savefig(folder / "load.png", dpi=110)
    page.write(folder, summary, ("ramp.html", "burst.html"))
    return summary


def main() -> int:
    """Measure, write the page, and end with a line of JSON; 1 where calls failed below the knee."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=64.0, help="of the ramp (default: %(default)s)")
    parser.add_argument("--peak", type=int, default=128, help="most users at a time (default: %(default)s)")
    parser.add_argument("--rates", type=int, nargs="+", default=open_rates.RATES, help="of the open loop, requests/s")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "load", help="folder of the page")
    parser.add_argument("--keep", action="store_true", help="also as the project's own figures, in docs/ and results/")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with running(options.out / "server.log") as server:
        server.wait_ready()
        summary = measure(server, options.out, options.seconds, options.peak, options.rates)
    if options.keep:
        PICTURE.write_bytes((options.out / "load.png").read_bytes())
        RESULTS.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"the page: {options.out / 'index.html'}")
    print(json.dumps({name: value for name, value in summary.items() if name not in ("machine", "open_loop")}))
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
