"""``wmserve tools``: print the tool definitions for a vendor's API; no server is needed."""

import argparse
import json
import sys

from wmserve_server.tools.definitions import definitions


def main(argv: list[str] | None = None) -> int:
    """Print them as a JSON list."""
    parser = argparse.ArgumentParser(
        prog="wmserve tools",
        description="Print the definitions of wmserve's tools, to go into `tools` of a request to a model. What it "
        "then calls goes to POST /v1/tools/VERB of a server, VERB being the tool's name after wmserve_.",
    )
    parser.add_argument("--format", choices=["openai", "anthropic"], required=True, help="whose API they are for")
    parser.add_argument("--strict", action="store_true", help="for strict mode: the model cannot stray from the schema")
    options = parser.parse_args(argv)
    print(json.dumps(definitions(options.format, options.strict), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
