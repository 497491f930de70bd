"""What locust reads.

    locust -f loadtest/load/locustfile.py --host http://localhost:8080 JsonAgent Robot
    locust -f loadtest/load/locustfile.py --headless --shape ramp --seconds 60 --peak 64 --host … JsonAgent

Locust's loop is closed: a user waits for its answer before it asks again, so a slow server is asked less and its
queue stays hidden. `python -m loadtest.load` shows beside it what an open loop sees.
"""

from typing import Any

import locust.stats
from locust import LoadTestShape, events

from loadtest.load.shapes import SHAPES, users
from loadtest.load.users import BinaryAgent, JsonAgent, Model, Robot

WINDOW_S = 3
"""Of the quantiles in locust's history, so that a step of a ramp forgets the one before."""
locust.stats.CURRENT_RESPONSE_TIME_PERCENTILE_WINDOW = WINDOW_S
__all__ = ["BinaryAgent", "JsonAgent", "Model", "Robot", "Shaped"]


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Options of this file, which the web page shows too."""
    parser.add_argument("--grpc-address", default="localhost:8081", help="host:port of the gRPC endpoint")
    parser.add_argument("--shape", default="steady", choices=list(SHAPES), help="how many users come when")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long all of it takes")
    parser.add_argument("--peak", type=int, default=32, help="most users at a time")


class Shaped(LoadTestShape):
    """Follows the shape that was asked for."""

    def tick(self) -> tuple[int, float] | None:
        """Users that there are to be, and how many come or go in a second."""
        asked = self.runner.environment.parsed_options
        wanted = users(asked.shape, self.get_run_time(), asked.seconds, asked.peak)
        return None if wanted is None else (wanted, float(asked.peak))
