"""``wmserve serve``: run the gateway and its Triton."""

import argparse
import gc
import logging
import sys

import uvloop
from pydantic import ValidationError

from wmserve_server import telemetry
from wmserve_server.app import Gateway
from wmserve_server.metrics import REQUESTS
from wmserve_server.settings import Settings, describe

GARBAGE_BETWEEN_COLLECTIONS = 20_000
"""Objects made and not yet freed."""


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 after a clean end, 2 for settings or a machine that will not do."""
    parser = argparse.ArgumentParser(
        prog="wmserve serve",
        description="Serve the worlds of a model repository over HTTP and gRPC.",
        epilog="Settings are environment variables:\n" + describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            print(f"WMSERVE_{problem['loc'][0]!s}".upper() + f": {problem['msg']}", file=sys.stderr)
        return 2
    spare_collection()
    set_up_logging(settings)
    stop_tracing = telemetry.start()
    logging.getLogger("mcp").setLevel(logging.WARNING)  # below that, it names sessions
    try:
        uvloop.run(Gateway(settings).run())
    except (OSError, RuntimeError) as error:
        logging.getLogger(__name__).error("cannot serve: %s", error)
        return 2
    finally:
        stop_tracing()
    return 0


def set_up_logging(settings: Settings) -> None:
    """Log to standard error as the settings say."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(telemetry.JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.getLogger(REQUESTS).setLevel(settings.log_level.upper() if settings.log_requests else logging.WARNING)


def spare_collection() -> None:
    """Keep Python's search for cycles away from what lives as long as the server, and let it begin more rarely.

    It took a quarter of the time of small requests, and held some up for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_BETWEEN_COLLECTIONS, 20, 50)


if __name__ == "__main__":
    sys.exit(main())
