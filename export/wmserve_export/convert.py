"""``wmserve convert``: a pickle of whole modules becomes tensors that nobody has to trust.

    wmserve convert lewm_object.ckpt --out converted            says what it would run, and stops
    wmserve convert lewm_object.ckpt --out converted --trust    runs it

Loading such a file runs the code that it names, and what it names can be anything. It is therefore done once, in a
process of its own that has no network, and what comes out is a ``weights.safetensors``, with ``attributes.json``: the
numbers that the modules carried, such as counts of heads, and which activations they have. The server never loads such
a file.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wmserve.torchvision import declare_operators

from wmserve_export.families.lewm.weights import WEIGHTS_FILE
from wmserve_export.families.published import ATTRIBUTES_FILE

NOT_TRUSTED, UNUSABLE = 1, 2
NETLESS = ("unshare", "--map-root-user", "--net")
"""util-linux: what follows runs with a network of its own, in which there is nobody."""
NO_NETWORK = "this machine gives no process without a network; if you accept that, add --with-network"


def main(argv: list[str] | None = None) -> int:
    """Convert; 0 when it is done, 1 when nobody has said that the file is trusted, 2 when it cannot be."""
    options = parser().parse_args(argv)
    if options.inside:
        return inside(options)
    try:
        runs = torch.serialization.get_unsafe_globals_in_checkpoint(options.checkpoint)
    except Exception as error:  # whatever a file that is none makes torch raise
        print(f"cannot convert: {options.checkpoint.name} is no checkpoint of torch: {error}", file=sys.stderr)
        return UNUSABLE
    if runs and not options.trust:
        named = "".join(f"    {name}\n" for name in sorted(runs))
        said = f"{options.checkpoint.name} is a pickle. Loading it runs what it names, with your rights:\n{named}"
        print(f"{said}If you trust where it came from, add --trust.", file=sys.stderr)
        return NOT_TRUSTED
    arguments = [str(options.checkpoint.resolve()), "--out", str(options.out.resolve()), "--inside"]
    kept = {name: value for name in ("PATH", "HOME", "PYTHONPATH", "LANG") if (value := os.environ.get(name))}
    command = [sys.executable, "-m", "wmserve_export.convert", *arguments]
    if not options.with_network:
        if not has_own_network():
            print(f"cannot convert: {NO_NETWORK}", file=sys.stderr)
            return UNUSABLE
        command = [*NETLESS, *command]
    return subprocess.run(command, env=kept, check=False).returncode


def has_own_network() -> bool:
    """Whether the system gives a process a network of its own, which leads nowhere."""
    try:
        return subprocess.run([*NETLESS, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def inside(options: argparse.Namespace) -> int:
    """What runs in the process of its own."""
    declare_operators()  # stable-worldmodel imports torchvision
    try:
        content = torch.load(options.checkpoint, map_location="cpu", weights_only=False)
        tensors, attributes = collected(content)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0].replace("_", "-")
        print(f"cannot convert: it needs {package}, which is not installed: pip install {package}", file=sys.stderr)
        return UNUSABLE
    except Exception as error:  # the file's code may raise anything
        print(f"cannot convert: {type(error).__name__}: {error}", file=sys.stderr)
        return UNUSABLE
    if not tensors:
        print(f"cannot convert: {options.checkpoint.name} holds no module and no tensor", file=sys.stderr)
        return UNUSABLE
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.out / WEIGHTS_FILE)
    (options.out / ATTRIBUTES_FILE).write_text(json.dumps(attributes, indent=1) + "\n")
    print(f"{len(tensors)} tensors and {len(attributes)} settings written to {options.out.name}")
    return 0


Setting = int | float | str


def collected(content: Any, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Setting]]:
    """Tensors and settings of modules, and of mappings of modules and tensors, by dotted names."""
    if isinstance(content, nn.Module):
        tensors = {prefix + name: tensor.detach().clone().contiguous() for name, tensor in content.state_dict().items()}
        return tensors, {prefix + name: value for name, value in carried(content).items()}
    if isinstance(content, Tensor):
        return {prefix.removesuffix("."): content.detach().clone().contiguous()}, {}
    found: tuple[dict[str, Tensor], dict[str, Setting]] = ({}, {})
    if isinstance(content, dict):
        for name, part in content.items():
            for known, new in zip(found, collected(part, f"{prefix}{name}."), strict=True):
                known |= new  # type: ignore[operator]  # dictionaries of the same kinds
    return found


def carried(module: nn.Module) -> dict[str, Setting]:
    """Numbers that modules and their configurations carry, by dotted names, and their activations."""
    found: dict[str, Setting] = {}
    for path, part in module.named_modules():
        before = f"{path}." if path else ""
        configuration = fields(getattr(part, "config", None))
        values = {
            **vars(part),
            **{f"config.{name}": value for name, value in configuration.items()},
            **{f"cfg.{name}": value for name, value in flat(getattr(part, "cfg", None))},
        }
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and not name.startswith("_"):
                found[before + name] = value
        if isinstance(act := configuration.get("hidden_act"), str):
            found[f"{before}config.hidden_act"] = act
        if type(part).__module__ == "torch.nn.modules.activation":
            found[f"{before}type"] = f"torch.nn.{type(part).__name__}"
    return found


def fields(configuration: object) -> dict[str, Any]:
    """What a configuration object, such as Hugging Face's, holds."""
    return vars(configuration) if hasattr(configuration, "__dict__") else {}


def flat(settings: object) -> Iterator[tuple[str, Any]]:
    """What nested settings, such as Hydra's, hold, by dotted names."""
    if not isinstance(settings, Mapping):
        return
    for name in settings:
        value = settings.get(name)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", found) for inner, found in flat(value))
        else:
            yield str(name), value


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve convert",
        description="Convert a pickle of whole modules into tensors, once, in a process of its own without a network.",
        epilog="Exit status: 0 converted, 1 it is not said that the file is trusted, 2 it cannot be converted.",
    )
    parser.add_argument("checkpoint", type=Path, help="the file, such as lewm_object.ckpt")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights.safetensors and attributes.json")
    parser.add_argument("--trust", action="store_true", help="run what the file names")
    parser.add_argument("--with-network", action="store_true", help="also where it cannot be kept from the network")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
