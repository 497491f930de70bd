"""Exports that are broken on purpose, and whether the reference gate refuses them.

    python -m loadtest.families.broken [--families lewm tdmpc2 ...]

Of every family a small world with random weights is exported wrong in a few ways: another number of heads, another
activation, pixels that are not normalised. Each is held against the family's own package, which is built from the true
settings, and against examples that the family's reference made, as a user would give them with ``--check``. Nothing is
traced: the gate looks at modules, which the other gates hold engines against.

The last line is JSON: ``reference_gate_missed``, the broken exports that passed (0 is wanted), ``tried``, the true ones
that were refused (``refused_whole``, 0 is wanted), and which.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from tqdm import tqdm
from wmserve_export import families
from wmserve_export.__main__ import Opened, checkpoint
from wmserve_export.export import one_thread
from wmserve_export.families import CONFIG_FILE, Encoder, Filler, Predictor, Rewarded
from wmserve_export.families.tdmpc2 import layers as tdmpc2_layers
from wmserve_export.gates import GateError
from wmserve_export.pairs import Pairs, drawn
from wmserve_export.reference_gate import reference

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision
from loadtest.families.cases import CASES, Case
from loadtest.families.parity import written

EXAMPLES, STEPS = 3, 3
PLAIN = {"pixel_mean": (0.0, 0.0, 0.0), "pixel_std": (1.0, 1.0, 1.0)}
Change = Callable[[dict[str, Any]], Mapping[str, Any]]
"""A family's configuration -> what of it is exported wrong."""


def other_heads(setting: str, width: str) -> Change:
    """Another number of heads of the same width in all."""

    def change(config: dict[str, Any]) -> Mapping[str, Any]:
        heads, wide = config[setting], config[width] or config["latent_dim"]
        even = 2 if config["family"].startswith("vjepa2") else 1
        return {setting: next(n for n in range(1, wide) if n != heads and wide % (even * n) == 0)}

    return change


def of_one(change: Mapping[str, Any]) -> Change:
    """The same change whatever the configuration is."""
    return lambda _: change


def lewm_heads(config: dict[str, Any]) -> Mapping[str, Any]:
    """Heads of the predictor twice as many, each half as wide."""
    return {"predictor_heads": 2 * config["predictor_heads"], "predictor_head_dim": config["predictor_head_dim"] // 2}


LEWM = {
    "encoder heads": other_heads("encoder_heads", "encoder_dim"),
    "predictor heads": lewm_heads,
    "pixels": of_one(PLAIN),
    "encoder activation": of_one({"encoder_activation": "relu"}),
    "projector activation": lambda config: {"projector": {**config["projector"], "activation": "gelu_tanh"}},
    "norm epsilon": lambda config: {"predictor_projector": {**config["predictor_projector"], "norm_eps": 0.1}},
}
VIT = {
    "heads": other_heads("heads", "latent_dim"),
    "pixels": of_one(PLAIN),
    "activation": of_one({"activation": "relu"}),
    "norm epsilon": of_one({"layer_norm_eps": 0.1}),
}
BREAKAGES: Mapping[str, Mapping[str, Change]] = {
    "lewm": LEWM,
    "pldm": LEWM,
    "dino-wm": {
        "backbone heads": other_heads("backbone_heads", "backbone_dim"),
        "predictor heads": lewm_heads,
        "pixels": of_one(PLAIN),
        "activation": of_one({"backbone_activation": "silu"}),
        "window": of_one({"window": 1}),
    },
    "tdmpc2": {
        "simplices": of_one({"simnorm_dim": 2}),
        "pixels": of_one(PLAIN),
        "activation": of_one({}),  # by `patched`: the family's constructor knows no other
        "bins": of_one({"high_bin": 5.0}),
        "discount": of_one({"discount": 0.5}),
    },
    "vjepa2": {**VIT, "predictor heads": other_heads("predictor_heads", "predictor_dim")},
    "vjepa2-ac": {
        **{name: change for name, change in VIT.items() if name != "norm epsilon"},
        "predictor heads": other_heads("predictor_heads", "predictor_dim"),
    },
    "ijepa": VIT,
}
SMALLEST: Mapping[str, str] = {"tdmpc2": "stable-worldmodel folder, frames and states"}
"""Formats that show most, where that is not a family's first."""
BY_PACKAGE: Mapping[str, str] = {"vjepa2": "Hugging Face folder", "ijepa": "Hugging Face folder"}
"""Formats that a family's package reads, where that is not a family's first."""


@dataclass
class Found:
    """What became of the exports."""

    tried: int = 0
    missed: list[str] = field(default_factory=list)
    refused_whole: list[str] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    """What each family was held against, but for examples."""

    def summary(self) -> dict[str, Any]:
        """As the last line has it."""
        return {
            "reference_gate_missed": len(self.missed),
            "tried": self.tried,
            "missed": self.missed,
            "refused_whole": len(self.refused_whole),
            "whole": self.refused_whole,
            "held_against": self.packages,
        }


def case_of(family: str) -> Case:
    """The format of a family that is broken."""
    form = {**SMALLEST, **BY_PACKAGE}.get(family)
    return next(case for case in CASES if case.family == family and form in (None, case.form))


@contextmanager
def exported(case: Case, folder: Path) -> Iterator[Opened]:
    """A case's checkpoint as the exporter has it."""
    source, facts = written(case, folder)
    with checkpoint(source, case.family, facts) as opened:
        yield opened


def examples(case: Case, family: Encoder, file: Path) -> Path:
    """A user's examples: what the case's reference answers."""
    config = family.config
    given = drawn(family, EXAMPLES, STEPS, config.image_size)
    arrays: dict[str, list[np.ndarray[Any, Any]]] = {"latents": []}
    for row in range(EXAMPLES):
        observed = {
            name: getattr(given, name)[row : row + 1]
            for name in ("observations", "proprioception")
            if getattr(given, name) is not None
        }
        latents = case.reference("encode", observed)["latents"].reshape(1, -1, given_width(family))
        arrays["latents"].append(latents.numpy())
        if isinstance(family, Filler):
            filled = case.reference("rollout", {**observed, "hidden": at(given, "hidden", row)})["latents"]
            arrays.setdefault("predicted", []).append(filled.numpy())
        if isinstance(family, Predictor):
            inputs = asked(family, given, row, latents)
            arrays.setdefault("predicted", []).append(case.reference("rollout", inputs)["latents"][:, 0].numpy())
            if isinstance(family, Rewarded):
                arrays.setdefault("costs", []).append(case.reference("plan", inputs)["cost"][0].numpy())
    found = {name: np.concatenate(parts) for name, parts in arrays.items()}
    for name in ("observations", "proprioception", "hidden", "actions"):
        if getattr(given, name) is not None:
            found[name] = getattr(given, name).numpy()
    np.savez(file, **found)  # type: ignore[arg-type]
    return file


def asked(family: Encoder, given: Pairs, row: int, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """One example as an engine is asked: with one candidate."""
    past = (family.config.context_length - 1) * family.config.action.action_block
    actions = at(given, "actions", row)
    found = {"context": latents, "actions": actions[:, None, past:]}
    return {**found, "action_history": actions[:, :past]} if past else found


def at(given: Pairs, name: str, row: int) -> torch.Tensor:
    """One example of what is given."""
    found: torch.Tensor = getattr(given, name)[row : row + 1]
    return found


def given_width(family: Encoder) -> int:
    """Numbers in the latents of one frame."""
    return int(np.prod(family.config.latent_shape))


def broken(opened: Opened, change: Change) -> Encoder:
    """The world with something of its configuration changed; its weights stay."""
    file = opened.folder / CONFIG_FILE
    true = file.read_text()
    config = json.loads(true)
    file.write_text(json.dumps({**config, **change(config)}))
    try:
        return families.load(opened.folder)
    finally:
        file.write_text(true)


def try_family(family: str, found: Found) -> None:
    """Break a family's world in every way, and see what the gate says of each."""
    case = case_of(family)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode(), exported(case, Path(place)) as opened:
        whole = families.load(opened.folder)
        pairs = examples(case, whole, Path(place) / "pairs.npz")
        by_package, by_pairs = opened.origin, replace(opened.origin, family=None, pairs=pairs, adapter="examples:alone")
        origins = {"examples": by_pairs}
        if (held := reference(whole, by_package)).checked:
            origins["package"], found.packages[family] = by_package, held.said
        for way, origin in origins.items():
            try:
                reference(whole, origin)
            except GateError as error:
                found.refused_whole.append(f"{family}, by {way}: {error}")
            for name, change in BREAKAGES[family].items():
                found.tried += 1
                with patched(family, name):
                    try:
                        reference(broken(opened, change), origin)
                    except GateError:
                        continue
                found.missed.append(f"{family}: {name}, by {way}")


@contextmanager
def patched(family: str, name: str) -> Iterator[None]:
    """Another activation for a family whose settings know none."""
    if (family, name) != ("tdmpc2", "activation"):
        yield
        return
    with mock.patch.object(tdmpc2_layers, "mish", torch.nn.functional.relu):
        yield


def run(chosen: list[str] | None = None) -> Found:
    """Try families, all unless some are chosen."""
    found = Found()
    for family in tqdm(chosen or list(BREAKAGES), "broken exports"):
        try_family(family, found)
    return found


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(BREAKAGES), help="default: all")
    options = parser.parse_args(argv)
    with one_thread():
        print(json.dumps(run(options.families).summary()))


if __name__ == "__main__":
    main()
