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
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from wmserve.world import ActionSpec, Axis, PlannerDefaults, WorldName

from wmserve_export.families import CONFIG_FILE, FamilyError

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
TEMPLATE = {
    "name": "my_world",
    "description": "what it is a world of",
    "action": {
        "axes": [{"name": "velocity_x", "unit": "m/s", "low": -1.0, "high": 1.0, "mean": 0.0, "std": 0.5}],
        "action_block": 5,
    },
}


class Facts(BaseModel):
    """What no checkpoint of these families says of its world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: WorldName
    description: str
    action: ActionSpec | None = None
    """Names, units and bounds of the actions, and the statistics that they were normalised with in training.

    None where a world knows no actions; a family that does asks for them by ``known_action``.
    """
    proprioception: tuple[Axis, ...] = ()
    """What a robot says of itself at each frame, like the action; none where a family knows of none."""
    context_length: PositiveInt = 1
    """Frames that a rollout is to start from."""
    planner: PlannerDefaults | None = None
    """None takes the settings that the family was published with."""

    def known_action(self) -> ActionSpec:
        """The actions, for a family that knows some; FamilyError asks for them."""
        if self.action is None:
            raise FamilyError(f"action: Field required; {asked()}")
        return self.action

    def fitting_action(self, numbers: int) -> ActionSpec:
        """The actions, for a checkpoint that takes so many numbers a model step; FamilyError where they have others."""
        action = self.known_action()
        known = action.action_block * len(action.axes)
        if known != numbers:
            raise FamilyError(
                f"the checkpoint takes {numbers} numbers a model step, the facts have {known}: "
                f"{action.action_block} environment steps of {len(action.axes)} axes"
            )
        return action

    def refuse_action(self, family: str) -> None:
        """FamilyError where there is something of actions, for a family that knows none."""
        if self.action is not None or self.planner is not None:
            raise FamilyError(f"a world of family {family} knows no actions: leave out action and planner")


def read_facts(file: Path | None) -> Facts:
    """Facts of a JSON file; FamilyError names those that are missing and shows what such a file looks like."""
    if file is None:
        raise FamilyError(f"name, description and action of the world (if it knows actions) are missing: {asked()}")
    try:
        return Facts.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        raise FamilyError(f"{file.name}: {field}: {first['msg']}; {asked()}") from None


def asked() -> str:
    """How to say what no checkpoint says."""
    return f"the checkpoint does not say it; put it into a JSON file and name that with --world, such as\n{template()}"


def template() -> str:
    """An example of such a file."""
    return json.dumps(TEMPLATE, indent=1)


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
        for name in names:
            found: Any = self.settings
            for part in name.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
            if found is not None:
                return found
        return next((self.attributes[name] for name in names if name in self.attributes), None)

    def number(self, what: str, setting: str, attribute: str) -> int:
        """A count that tensors do not show: of the settings, by dots, or of the attributes; FamilyError names it."""
        found = self.setting(setting, attribute)
        if not isinstance(found, int) or found < 1:
            raise FamilyError(f"{what} are missing: {CONFIG_FILE} should have them as {setting}")
        return found

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
    settings, attributes = read_settings(folder), read_json(folder / ATTRIBUTES_FILE)
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
