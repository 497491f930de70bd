"""Runs a world's ONNX engines inside Triton: a python-based backend, shared by all models that name it.

It reads the engines of one verb from the model's version folder and refuses them when they are not those of the
contract in the model's parameters, or not for this machine.

    encode, rollout   tensors -> engine -> tensors, by the names in ``config.pbtxt``
    plan              a search that is under way -> some iterations of it over the cost engine -> the same, further on

A calibrated world has score engines beside these: they see what the engine sees and answers, and add one output to it.

Beside each plan engine is one that judges what its search has found, also with members of the ensemble that the search
never asks (planner/judging.py). A world of mixed precision also has a coarse engine there: it scores all candidates,
the plan engine the best of them again (planner/rescoring.py).

Engines may also be Triton models of their own, as TensorRT's are (gpu_engines.py). Where such a model's engine is an
ONNX file, it is run by this backend too.

The search runs here because a hop between processes takes longer than scoring a population of a small world.

An answer is the same, bit for bit, whatever it travelled with. Kernels pick their order of summation by the size of a
batch, but not by the number of threads: so each row of a batch is run by itself, rows side by side on one thread each,
a single row on all threads. Frames may share a run where that was seen to change no bit (:class:`Together`).

Weights of large engines lie in a data file beside them, which the runtime maps into memory and uses where it lies: no
engine of this or another process has a copy. Nor have they copies for one thread: rows run one after the other, each
on all threads, and of its candidates a few at a time (large_engines.py).

Only the standard library, numpy, onnxruntime and the planner, which is copied beside this file: wmserve is not
importable in NVIDIA's container.
"""

import ctypes
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))
from gpu_engines import ModelEngine, Refused, check_builder, check_machine, check_runs
from large_engines import InParts
from planner import advance, coarse_to_fine, judged, slices

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
Cost = Callable[[Array], tuple[Array, Mapping[str, Array]]]
Session: TypeAlias = ort.InferenceSession | InParts | ModelEngine
Files = Mapping[int | None, "File | ModelEngine"]
"""ONNX files by the environment steps `N` that they are unrolled to; None for one that is not."""
Run = Callable[[Tensors], list[Array]]
"""Runs one row, whose batch axis is 1; returns the outputs in the order of ``config.pbtxt``."""

CONTRACT_PARAMETER = "wmserve_world"
ENGINES_PARAMETER, ENGINE_PARAMETER = "wmserve_engines", "wmserve_engine"
ENGINE_FILE = re.compile(r"(?:engine|horizon_(\d+)(?:_(coarse|judge))?)\.(?:onnx|plan|rtx)")
DATA_FILE = "weights.data"
"""What large engines of a verb have their weights in."""
PART = 16 << 20
"""Bytes of a file that are read at a time."""
THREADS = int(os.environ.get("WMSERVE_TRITON_THREADS", "1"))
PARENT_POLL_S = 0.5
TRIES, MAX_SIZES = 2, 1024
"""Batches of one size that are tried, and sizes that are remembered."""


@dataclass(frozen=True)
class File:
    """An ONNX file that is the contract's."""

    content: bytes
    data_folder: Path | None = None
    """Where its weights lie in a data file, which is the contract's too; None where they lie inside."""


def session(file: File, threads: int) -> ort.InferenceSession | InParts:
    """An engine pinned to its threads, which sleep while they wait: spinning would burn a laptop's core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    if file.data_folder is not None:
        folder = str(file.data_folder)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        options.add_session_config_entry("session.disable_prepacking", "1")  # which would copy them
    made = ort.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
    unrolled = any(given.name == "actions" for given in made.get_inputs())
    return InParts(made) if unrolled and file.data_folder is not None else made


def verified(file: Path, digest: str) -> File:
    """The file, if it is the one that the contract speaks of; its weights lie inside."""
    if not file.is_file():
        raise Refused(f"engine {file.name} of the contract is missing")
    content = file.read_bytes()
    refuse_unless(f"sha256:{hashlib.sha256(content).hexdigest()}" == digest, file)
    return File(content)


def verify(file: Path, digest: str) -> None:
    """Refused unless a file, which may be larger than memory, is the one that the contract speaks of."""
    if not file.is_file():
        raise Refused(f"engine {file.name} of the contract is missing")
    found = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(PART):
            found.update(part)
    refuse_unless(f"sha256:{found.hexdigest()}" == digest, file)


def refuse_unless(equal: bool, file: Path) -> None:
    """Refused with a message that names the file."""
    if not equal:
        raise Refused(f"engine {file.name} is not the one in the contract: digests differ; export the world again")


def score_files(world: Mapping[str, Any], verb: str, folder: Path) -> list[File]:
    """Score engines of a verb, if the world is calibrated and the calibration is that of its engines."""
    calibration = world.get("calibration")
    if calibration is None or calibration["engines"] != world["digests"]["engines"]:
        return []
    prefix = verb + "/"
    files = {key.removeprefix(prefix): digest for key, digest in calibration["files"].items() if key.startswith(prefix)}
    return [verified(folder / name, digest) for name, digest in files.items()]


def follow(server: int) -> None:
    """End this process when the server has gone: Triton's own check takes a zombie for a living parent."""
    while os.getppid() == server:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


# Arrays travel as DLPack capsules: Triton's own numpy conversion is built for numpy 1 and silently empties arrays of
# numpy 2. Triton renames a capsule that it has taken in a way numpy does not know, whose destructor would then print an
# error; the memory is Triton's by then, so the destructor is not needed.
set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]


def to_tensor(name: str, array: Array) -> Any:
    """Hand an array over to Triton, without a copy unless it came from there: numpy hands over what can be written."""
    capsule = np.require(array, None, ["C", "W"]).__dlpack__()
    set_destructor(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)


@dataclass(frozen=True)
class Models:
    """One verb's ONNX files: its own, those beside them, and the score engines of a calibration."""

    large: bool
    """Whether there are weights in a data file."""
    exact: dict[int | None, File | ModelEngine] = field(default_factory=dict)
    coarse: dict[int | None, File | ModelEngine] = field(default_factory=dict)
    judge: dict[int | None, File | ModelEngine] = field(default_factory=dict)
    scores: list[File] = field(default_factory=list)


def read_models(world: Mapping[str, Any], verb: str, folder: Path, apart: Mapping[str, Any]) -> Models:
    """Read the files that the contract has for a verb; Refused when they are others.

    Of those in `apart` only the bytes are checked: they are run by other models.
    """
    prefix, digests = verb + "/", world["digests"]["engines"]
    files = {key.removeprefix(prefix): digest for key, digest in digests.items() if key.startswith(prefix)}
    large = DATA_FILE in files
    if large:
        verify(folder / DATA_FILE, files[DATA_FILE])
    models = Models(large, scores=score_files(world, verb, folder))
    for name, digest in files.items():
        if match := ENGINE_FILE.fullmatch(name):
            elsewhere = apart.get(prefix + name)
            getattr(models, match[2] or "exact")[steps_of(world, match)] = (
                model_engine(elsewhere, folder, name, digest) if elsewhere else onnx_file(folder / name, digest, large)
            )
    return models


def onnx_file(file: Path, digest: str, large: bool) -> File:
    """An engine that is run here; its weights may lie in the data file of its verb, if there is one."""
    found = verified(file, digest)
    return replace(found, data_folder=file.parent) if large and DATA_FILE.encode() in found.content else found


def model_engine(elsewhere: Mapping[str, Any], folder: Path, name: str, digest: str) -> ModelEngine:
    """An engine that another model runs."""
    verify(folder.parent.parent / elsewhere["model"] / folder.name / name, digest)
    return ModelEngine(elsewhere["model"], elsewhere["outputs"], to_tensor)


def read_engine(world: Mapping[str, Any], key: str, folder: Path) -> Models:
    """Read the one file of a model that is an engine; Refused when it is another."""
    name = key.partition("/")[2]
    match = ENGINE_FILE.fullmatch(name)
    if match is None or key not in world["digests"]["engines"]:
        raise Refused(f"the contract of world {world['name']} has no engine {key}")
    file = verified(folder / name, world["digests"]["engines"][key])
    return Models(large=False, exact={steps_of(world, match): file})


def steps_of(world: Mapping[str, Any], name: re.Match[str]) -> int | None:
    """Environment steps that a file is unrolled to."""
    return int(name[1]) * world["action"]["action_block"] if name[1] else None


class Engine:
    """One verb's engines, pinned to so many threads."""

    def __init__(self, models: Models, threads: int) -> None:
        self._warm_up_candidates = 1 if models.large else 64

        def sessions(files: Files) -> dict[int | None, Session]:
            return {
                steps: session(model, threads) if isinstance(model, File) else model for steps, model in files.items()
            }

        self.sessions, self.coarse, self.judges = map(sessions, (models.exact, models.coarse, models.judge))
        self.scores = [session(model, threads) for model in models.scores]
        self.scored = {output.name for score in self.scores for output in score.get_outputs()}
        self.seen = [given.name for score in self.scores for given in score.get_inputs()]
        """What score engines answer and see, in that order."""

    @property
    def answers(self) -> set[str]:
        """Names of all that it can answer."""
        return {output.name for part in [*self.sessions.values(), *self.scores] for output in part.get_outputs()}

    def run(self, tensors: Tensors, outputs: list[str]) -> list[Array]:
        """Run the file that is unrolled to as many steps as there are actions, and score what it answers."""
        steps = tensors["actions"].shape[2] if "actions" in tensors else None
        if steps not in self.sessions:
            raise ValueError(f"no engine is unrolled to {steps} environment steps, only to {list(self.sessions)}")
        known = dict(tensors)
        needed = dict.fromkeys([*outputs, *self.seen])
        wanted = [name for name in needed if name not in known and name not in self.scored]
        known |= zip(wanted, self.sessions[steps].run(wanted, tensors), strict=True)
        known |= self.score(known)
        return [known[name] for name in outputs]

    def score(self, known: Tensors) -> Tensors:
        """What the score engines say."""
        said: Tensors = {}
        for score in self.scores:
            answers = score.run(None, {given.name: known[given.name] for given in score.get_inputs()})
            said |= zip((output.name for output in score.get_outputs()), answers, strict=True)
        return said

    def warm_up(self, frames: int) -> None:
        """Run each file once on zeros, so that no caller pays for what a runtime does at its first call.

        Engines that are models are warmed up by Triton.
        """
        engines = [*self.sessions.items(), *self.coarse.items(), *self.judges.items()]
        for steps, engine in engines:
            if isinstance(engine, ModelEngine):
                continue
            sizes = {"T": frames, "h": 64, "w": 64, "S": self._warm_up_candidates, "N": steps or 1}
            shapes = {
                i.name: [sizes.get(axis, 1) if isinstance(axis, str) else axis for axis in i.shape]
                for i in engine.get_inputs()
            }
            types = {i.name: np.uint8 if i.type == "tensor(uint8)" else np.float32 for i in engine.get_inputs()}
            known = {name: np.zeros(shape, types[name]) for name, shape in shapes.items()}
            known |= zip((output.name for output in engine.get_outputs()), engine.run(None, known), strict=True)
            if all(name in known for name in self.seen):
                self.score(known)

    def search(self, tensors: Tensors, action_block: int, search_members: int) -> list[Array]:
        """Take a search further; its candidates are padded to the engine's horizon, and what lies behind is cut off.

        What it has found by then is judged, so that no plan leaves here without.
        """
        fixed = {name: array for name, array in tensors.items() if name != "search"}
        task = slices.unpack_task(tensors["search"])
        wanted = task.problem.shape.steps
        steps = min(size for size in self.sessions if size is not None and size >= wanted)
        horizon, spent = wanted // action_block, 0.0

        def with_candidates(candidates: Array) -> Tensors:
            actions = candidates
            if steps > wanted:
                actions = np.pad(candidates, ((0, 0), (0, steps - wanted), (0, 0)), mode="edge")
            return {**fixed, "actions": actions[None]}

        def cost_of(engine: Session) -> Cost:
            outputs = [output.name for output in engine.get_outputs()]

            def cost(candidates: Array) -> tuple[Array, Mapping[str, Array]]:
                nonlocal spent
                began = time.perf_counter()
                scored = engine.run(outputs, with_candidates(candidates))
                kept = within(dict(zip(outputs, scored, strict=True)), horizon)
                spent += time.perf_counter() - began
                return task.goal(kept)

            return cost

        cost = cost_of(self.sessions[steps])
        # The temperature of MPPI is a matter of all costs, not of the best alone.
        if steps in self.coarse and task.problem.settings.algorithm != "mppi":
            cost = coarse_to_fine(cost_of(self.coarse[steps]), cost, task.problem.settings.elite_count)
        began, ended_s = time.perf_counter(), list[float]()
        state = advance(cost, task.problem, task.state, task.slice_s, task.left_s, ended_s.append)
        searched = time.perf_counter() - began - spent
        known, judge = with_candidates(state.best.actions[None]), self.judges[steps]
        known |= zip((output.name for output in judge.get_outputs()), judge.run(None, known), strict=True)
        known |= self.score(known)
        said = within({name: array for name, array in known.items() if name not in (*fixed, "actions")}, horizon)
        best = judged(task.goal, state.best, said, search_members)
        progress = slices.Progress(replace(state, best=best), spent, searched, tuple(ended_s))
        return [slices.pack_progress(progress)[None]]


def within(scored: Tensors, horizon: int) -> Tensors:
    """Of one row's answers about candidates, those within the horizon; readouts have an axis of members before it."""
    return {name: a[0][:, :, :horizon] if name == "readouts" else a[0][:, :horizon] for name, a in scored.items()}


class Together:
    """Runs rows of equal shapes in one go where that gives the bits that they have alone.

    Whether it does is the kernels' affair, and depends on shapes: it is tried on the first batches of each size.
    """

    def __init__(self, alone: Run) -> None:
        self._alone = alone
        self._tries: dict[tuple[object, ...], int] = {}
        """By sizes, how often the bits were seen to agree; -1 where they did not."""

    def __call__(self, rows: list[Tensors]) -> list[list[Array]] | None:
        """Answers of the rows; None where they have to be run one by one."""
        key = tuple((name, len(rows), *array.shape) for name, array in rows[0].items())
        if any([*map(np.shape, row.values())] != [*map(np.shape, rows[0].values())] for row in rows):
            return None
        tries = self._tries.get(key, 0)
        if tries < 0 or (tries == 0 and len(self._tries) >= MAX_SIZES):
            return None
        outputs = self._alone({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
        answers = [[output[at : at + 1] for output in outputs] for at in range(len(rows))]
        if tries < TRIES:
            wanted = [self._alone(row) for row in rows]
            agrees = all(
                one.tobytes() == other.tobytes()
                for answer, want in zip(answers, wanted, strict=True)
                for one, other in zip(answer, want, strict=True)
            )
            self._tries[key] = tries + 1 if agrees else -1
            return wanted
        return answers


class TritonPythonModel:
    """One Triton model: the engines of one verb of one world."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engines; Refused, which Triton reports, when they do not match the contract or the machine."""
        threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        world = json.loads(parameters[CONTRACT_PARAMETER])
        verb = args["model_name"].rpartition("_")[2]
        folder = Path(args["model_repository"]) / args["model_version"]
        target = world.get("target", {"name": "cpu", "builder": "", "compute_capabilities": ()})
        check_machine(target)
        check_builder(target)
        apart = json.loads(parameters.get(ENGINES_PARAMETER, "{}"))
        key = parameters.get(ENGINE_PARAMETER)
        models = read_engine(world, key, folder) if key else read_models(world, verb, folder, apart)
        check_runs(target)
        if not models.exact:
            raise Refused(f"the contract of world {world['name']} has no engine for model {args['model_name']}")
        if verb == "plan" and models.judge.keys() != models.exact.keys():
            raise Refused(f"world {world['name']} cannot judge its plans; export it again")
        wide = Engine(models, THREADS)
        narrow = wide if THREADS == 1 or models.large else Engine(models, 1)
        # What only a calibration knows is left out where there is none, or one of other engines.
        self._outputs = [name for tensor in config["output"] if (name := tensor["name"]) in wide.answers | {"search"}]
        for engine in (wide,) if narrow is wide else (wide, narrow):
            engine.warm_up(world["context_length"])
        self._alone, self._beside = (self._runner(verb, engine, world) for engine in (wide, narrow))
        # On a CPU rows of rollouts are as fast side by side; a GPU wants them in one run.
        joined = (verb == "encode" or (apart and verb == "rollout")) and not models.large
        self._together = Together(self._alone) if joined else None
        self._pool = ThreadPoolExecutor(1 if models.large else THREADS)

    def _runner(self, verb: str, engine: Engine, world: Mapping[str, Any]) -> Run:
        if verb == "plan":
            return lambda tensors: engine.search(tensors, world["action"]["action_block"], world["search_members"])
        return lambda tensors: engine.run(tensors, self._outputs)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself: one that fails does not take the others with it."""
        tensors = [{t.name(): np.from_dlpack(t) for t in request.inputs()} for request in requests]
        counts = [len(next(iter(named.values()))) for named in tensors]
        rows = [
            {name: array[row : row + 1] for name, array in named.items()}
            for named, count in zip(tensors, counts, strict=True)
            for row in range(count)
        ]
        answers = self._answers(rows)
        ends = np.cumsum(counts)
        return [self._response(answers[end - count : end]) for count, end in zip(counts, ends, strict=True)]

    def _answers(self, rows: list[Tensors]) -> list[list[Array] | Exception]:
        if len(rows) == 1:
            return [attempt(self._alone, rows[0])]
        if self._together is not None:
            together = attempt(self._together, rows)
            if isinstance(together, list):
                return together
        return list(self._pool.map(self._attempt, rows))

    def _attempt(self, row: Tensors) -> list[Array] | Exception:
        return attempt(self._beside, row)

    def _response(self, rows: list[list[Array] | Exception]) -> Any:
        for row in rows:
            if isinstance(row, Exception):
                error = pb_utils.TritonError(f"{type(row).__name__}: {row}")
                return pb_utils.InferenceResponse(error=error)
        columns = [stack(parts) for parts in zip(*rows, strict=True)]
        return pb_utils.InferenceResponse(list(map(to_tensor, self._outputs, columns)))


def attempt(run: Callable[[Any], Any], row: Any) -> Any:
    """What a row answers, or what went wrong with it: that belongs to its request alone."""
    try:
        return run(row)
    except Exception as error:  # whatever the runtime raises
        return error


def stack(parts: tuple[Array, ...]) -> Array:
    """Rows as one batch; packed searches of different lengths are filled up to the longest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.shape[1] for part in parts)
    if any(part.shape[1] != width for part in parts):
        parts = tuple(np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts)
    return np.concatenate(parts)
