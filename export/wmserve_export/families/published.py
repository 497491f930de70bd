"""Checkpoints as their families publish them: tensors and settings are read, what is in neither is asked for by name.

    a folder with one .safetensors or .pt file, or with shards of one and their .safetensors.index.json; beside it
        config.json, config.yaml or hydra.yaml (settings) or attributes.json (wmserve convert)
    such a file itself
    a folder with files of several modules, and a config.json that says of which: {"files": {"encoder": "vitg.pt", ...}}

Of a file that holds the state dicts of several modules (``{"encoder": ..., "predictor": ..., "epoch": 3}``) each tensor
is known by its module's name and its own, such as ``encoder.norm.weight``.

A ``.pt`` file is read as tensors alone (``weights_only``): nothing in it runs. What holds whole modules goes through
``wmserve convert`` first.
"""

import json
import math
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.facts import Facts as Facts
from wmserve_export.families.facts import Pixels
from wmserve_export.families.facts import read_facts as read_facts
from wmserve_export.families.images import Statistics

SETTINGS_FILES = (CONFIG_FILE, "config.yaml", "hydra.yaml")
"""Where trainers write their settings; the first that is there counts."""
ATTRIBUTES_FILE = "attributes.json"
"""Numbers that converted modules carried beside their tensors, by module and name."""
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".pth.tar")
INDEX_FILES = "*.safetensors.index.json"
"""What says which tensor is in which shard, as Hugging Face writes it."""
FILES = "files"
"""Key of the settings: files of modules that were published apart."""
WRAPPERS = ("state_dict", "model", "module")
"""Keys under which trainers put the tensors."""
ROOTS = ("model", "world_model")
"""Keys of the settings under which whole trainings keep those of the model."""
PROCESSOR, PROCESSOR_FILES = "preprocessor", ("preprocessor_config.json", "video_preprocessor_config.json")
"""Key of the settings for how frames are prepared, and where Hugging Face's folders say it."""


@dataclass(frozen=True)
class Published:
    """What was read of a checkpoint."""

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    """Its ``config.json``, or what else there is of settings; empty where there is nothing."""
    attributes: Mapping[str, Any]
    file: Path = Path()
    """What the tensors were read of, or the first of its shards."""

    def setting(self, *names: str) -> Any:
        """The first of these, by dots, that settings have, else attributes; None where neither does."""
        return self.stated(*names)[1]

    def stated(self, *names: str) -> tuple[str, Any]:
        """The same, and its name; FamilyError where settings say two of these that differ."""
        found = {name: value for name in names if (value := self.looked_up(name)) is not None}
        if not found:
            found = {name: self.attributes[name] for name in names if name in self.attributes}
        first = next(iter(found.items()), ("", None))
        for name, value in found.items():
            if value != first[1]:
                raise FamilyError(f"{CONFIG_FILE} says {first[0]} {first[1]}, and {name} {value}: which is it?")
        return first

    def looked_up(self, name: str) -> Any:
        """What settings have under a name, by dots; None where nothing."""
        found: Any = self.settings
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return None if isinstance(found, str) and "${" in found else found  # what Hydra has not resolved

    def number(self, what: str, *names: str) -> int:
        """A count that tensors do not show, by any of these names; FamilyError asks for the first of them."""
        name, found = self.stated(*names)
        if found is None:
            raise FamilyError(f"{what} are missing: {CONFIG_FILE} should have them as {names[0]}")
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise FamilyError(f"{what}: {CONFIG_FILE} says {name} {found!r}, a count of at least 1 is needed")
        return found

    def positive(self, default: float, *names: str) -> float:
        """A number over 0 that tensors do not show, such as the epsilon of a norm; `default` where nothing says it."""
        name, found = self.stated(*names)
        if found is None:
            return default
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = math.nan
        if not 0 < value < math.inf:
            raise FamilyError(f"{CONFIG_FILE} says {name} {found!r}, a number over 0 is needed")
        return value

    def agreed(self, derived: int, *names: str) -> int:
        """What tensors show, which settings may say, too; FamilyError where those say something else."""
        for name in names:
            stated = self.stated(name)[1]
            if stated is not None and stated != derived:
                raise FamilyError(f"{CONFIG_FILE} says {name} {stated}, the tensors have {derived}: which is right?")
        return derived

    def pixels(self, facts: Facts, usual: tuple[Statistics, Statistics]) -> tuple[Statistics, Statistics]:
        """Mean and standard deviation that training prepared pixels with: of the facts, of Hugging Face's, else usual.

        Of pixels in 0..1.
        """
        if facts.pixels is not None:
            return facts.pixels.statistics
        said = self.settings.get(PROCESSOR, {})
        mean, std = said.get("image_mean"), said.get("image_std")
        if said.get("do_normalize") is False:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if mean is None or std is None:
            return usual
        try:
            return Pixels.model_validate({"mean": mean, "std": std}).statistics
        except ValidationError:
            raise FamilyError(f"{PROCESSOR_FILES[0]}: image_mean and image_std are three numbers each") from None

    def side(self, facts: Facts, patch: int, patches: int, *names: str) -> int:
        """Side of frames, pixels: of the facts, else of the settings, else what so many patches cover.

        FamilyError where settings say a side that has another number of patches.
        """
        grid = round(patches**0.5)
        if grid**2 != patches:
            raise FamilyError(f"the checkpoint has positions for {patches} patches, which make no square")
        name, stated = self.stated(*names)
        if stated is not None and (not isinstance(stated, int) or stated // patch != grid):
            raise FamilyError(
                f"{CONFIG_FILE} says {name} {stated}, the tensors have {grid} x {grid} patches of {patch} pixels; "
                "where training showed frames of another size, say it as image_size in the file of --world"
            )
        return facts.image_size or (patch * grid if stated is None else stated)

    def fixed_side(self, facts: Facts, patch: int, patches: int, *names: str) -> int:
        """The same of a network that knows this number of patches and no other; FamilyError where facts say another."""
        side = self.side(facts, patch, patches, *names)
        if (side // patch) ** 2 != patches:
            raise FamilyError(
                f"image_size {side} makes {side // patch} x {side // patch} patches of {patch} pixels, "
                f"the checkpoint knows {patches} patches and no others"
            )
        return side

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; FamilyError where it is missing."""
        if name not in self.tensors:
            raise FamilyError(f"the checkpoint lacks {name}; is it of this family?")
        return tuple(self.tensors[name].shape)

    def layers(self, prefix: str) -> int:
        """How many layers have tensors under ``prefix.<number>.``."""
        return len(modules(prefix, self.tensors))

    def order(self, prefix: str, settings: Iterable[str], setting: str) -> tuple[str, ...]:
        """Names of the modules ``prefix.<name>`` in the order that settings give them, else in that of the modules.

        FamilyError names the setting where nothing tells: safetensors sorts what it holds.
        """
        there = modules(prefix, self.tensors)
        kept = [*modules(prefix, self.attributes), *([] if self.file.suffix == ".safetensors" else there)]
        for names in (settings, kept, there if len(there) == 1 else ()):
            known = tuple(name for name in dict.fromkeys(names) if name in there)
            if len(known) == len(there):
                return known
        raise FamilyError(
            f"the order of {', '.join(sorted(there))} is missing: {CONFIG_FILE} should have it as {setting}"
        )


def modules(prefix: str, names: Iterable[str]) -> list[str]:
    """What follows a prefix in dotted names, each part once."""
    under = (name.removeprefix(f"{prefix}.") for name in names if name.startswith(f"{prefix}."))
    return list(dict.fromkeys(name.partition(".")[0] for name in under))


def read(source: Path) -> Published:
    """Read a checkpoint; FamilyError where it is none, or would run code."""
    folder = source if source.is_dir() else source.parent
    settings, attributes = unwrapped(read_settings(folder)), read_json(folder / ATTRIBUTES_FILE)
    if processor := next((folder / name for name in PROCESSOR_FILES if (folder / name).is_file()), None):
        settings = {**settings, PROCESSOR: read_json(processor)}
    if source.is_dir() and isinstance(settings.get(FILES), Mapping):
        return Published(read_modules(folder, settings[FILES]), settings, attributes, folder)
    files = weights_files(source)
    tensors = {name: tensor for file in files for name, tensor in read_tensors(file).items()}
    return Published(tensors, settings, attributes, files[0])


def read_modules(folder: Path, files: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors of modules that are in files of their own, by the name of each file; of a file, its module alone."""
    found: dict[str, Tensor] = {}
    for module, name in files.items():
        file = folder / Path(str(name)).name
        if not file.is_file():
            raise FamilyError(f"{CONFIG_FILE} names a file that is not there: {file.name}")
        found |= {name: tensor for name, tensor in read_tensors(file).items() if name.startswith(f"{module}.")}
    return found


def weights_files(source: Path) -> list[Path]:
    """The one file with weights, or all shards of it."""
    if source.is_file():
        return [source]
    if len(indices := list(source.glob(INDEX_FILES))) == 1:
        return shards(indices[0])
    files = [file for suffix in WEIGHT_FILES for file in sorted(source.glob(f"*{suffix}"))]
    if len(files) == 1:
        return files
    there = ", ".join(file.name for file in files) or "none"
    raise FamilyError(
        f"one file of weights ({', '.join(WEIGHT_FILES)}), or shards of one with their {INDEX_FILES[2:]}, is needed in "
        f"{source.name}, there: {there}"
    )


def shards(index: Path) -> list[Path]:
    """The files that an index names, which lie beside it."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, Mapping) or not names:
        raise FamilyError(f"{index.name} has no weight_map: which tensor is in which file")
    files = sorted({index.with_name(Path(str(name)).name) for name in names.values()})
    if missing := [file.name for file in files if not file.is_file()]:
        raise FamilyError(f"{index.name} names files that are not there: {', '.join(missing)}")
    return files


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors by name, without what trainers wrap around them."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # Mapped, what nobody reads of it costs no memory: optimisers are larger than their models.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError:
        raise FamilyError(
            f"{file.name} holds more than tensors; first: wmserve convert {file.name} --out FOLDER"
        ) from None
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise FamilyError(f"{file.name} cannot be read: {error}") from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if is_mapping(content):  # tensordict notes sizes and devices beside its tensors
        content = {name: part for name, part in content.items() if not str(name).rpartition(".")[2].startswith("__")}
    if is_state_dict(content):
        return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
    modules = {str(key): part for key, part in content.items() if is_state_dict(part)} if is_mapping(content) else {}
    if not modules:
        raise FamilyError(f"{file.name} is no state dict: tensors by name are needed")
    return {
        f"{module}.{str(name).removeprefix('module.')}": tensor
        for module, part in modules.items()
        for name, tensor in part.items()
    }


def is_mapping(content: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it is a mapping with something in it."""
    return isinstance(content, Mapping) and bool(content)


def is_state_dict(content: object) -> TypeGuard[Mapping[Any, Tensor]]:
    """Whether it is tensors by name."""
    return is_mapping(content) and all(isinstance(tensor, Tensor) for tensor in content.values())


def unwrapped(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a model, out of those of its whole training."""
    for root in ROOTS:
        inner = settings.get(root)
        if isinstance(inner, Mapping) and not settings.keys() & {"encoder", "predictor"}:
            return {**settings, **inner}
    return settings


def read_settings(folder: Path) -> Mapping[str, Any]:
    """A trainer's settings; empty where there are none."""
    file = next((folder / name for name in SETTINGS_FILES if (folder / name).is_file()), folder / CONFIG_FILE)
    if file.suffix != ".yaml":
        return read_json(file)
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise FamilyError(f"{file.name} is not plain YAML: {error}") from None
    if not isinstance(content, dict):
        raise FamilyError(f"{file.name} is no YAML mapping")
    return content


def read_json(file: Path) -> Mapping[str, Any]:
    """A JSON object; empty where there is no file."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise FamilyError(f"{file.name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise FamilyError(f"{file.name} is no JSON object")
    return content
