"""The way of a world: encode -> fit readouts, fit metrics and choose one -> put them on engines -> gates -> write."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from tqdm import tqdm
from wmserve.world import Digests, GoalMetric, World

from wmserve_export import contract, export, repository
from wmserve_export.coarse import coarse_engine
from wmserve_export.engines import CPU, Engine, engines
from wmserve_export.external_data import DATA_FILE, ExternalData, has_external_data
from wmserve_export.fit import encoding, measures, metrics, own_metric, proof, readouts, surgery
from wmserve_export.fit.encoding import Tracks
from wmserve_export.fit.engines_before import Before, FromContract
from wmserve_export.fit.heads import Distance
from wmserve_export.fit.measures import Metric, Pairs, Problems, Worth
from wmserve_export.fit.readouts import Fitted
from wmserve_export.fit.reducing import Reduction
from wmserve_export.fit.surgery import FitError, Heads
from wmserve_export.fit.wanted import Wanted
from wmserve_export.onnx_graphs import save
from wmserve_export.runtime import Floats

KINDS = ("slow", "temporal")
WEIGHTS = {"final_weight": 1.0, "path_weight": 1.0}
LARGE_CANDIDATES = 20
"""That gates try of worlds with large engines."""
FIT = "fit"
"""Key of the report."""


@dataclass(frozen=True)
class FitOptions:
    """What is to be fitted, and how."""

    readouts: tuple[Wanted, ...] = ()
    """Empty: the columns that have names, for a world without readouts."""
    no_readouts: bool = False
    metric: str | None = None
    """``slow`` or ``temporal``; None takes what is better on the trajectories to choose by."""
    no_metric: bool = False
    seed: int = 0
    dry_run: bool = False
    """Fit, measure and try the gates, and write nothing."""


@dataclass(frozen=True)
class MetricReport:
    """The goal metric on held-out trajectories, beside the one that the world had."""

    kind: str
    """``slow``, ``temporal``, or ``kept`` where none was better."""
    before: str
    """Name of the world's own."""
    worth_before: Worth
    worth: Worth
    tried: Mapping[str, float]
    """Correlation of each on the trajectories to choose by."""


@dataclass(frozen=True)
class Report:
    """What a fit found."""

    world: str
    trajectories: Mapping[str, int]
    """How many there were to ``fit``, to ``choose`` by and ``held_out``."""
    metric: MetricReport | None
    readouts: Fitted | None
    notes: tuple[str, ...]
    written: bool
    gates: Mapping[str, object]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        fitted = self.readouts
        said = None if fitted is None else {"kind": fitted.kind, "found": [asdict(one) for one in fitted.found]}
        metric = None if self.metric is None else asdict(self.metric)
        rest = {"trajectories": dict(self.trajectories), "notes": list(self.notes), "written": self.written}
        return {"world": self.world, "metric": metric, "readouts": said, **rest, "gates": dict(self.gates)}


def fit_world(
    place: Path,
    name: str,
    files: Sequence[Path],
    options: FitOptions,
    show: bool = True,
    placing: repository.Placing | None = None,
) -> Report:
    """Fit heads to the live version of a world of a repository and write a version with them.

    Raises:
        FitError: Where the world cannot be fitted.
        TrajectoryError: Where trajectories do not fit.
        GateError: Where a gate refuses; nothing is written.
    """
    world = repository.read(place, name)
    notes = check(world, options)
    with repository.staging(place) as staged, export.one_thread():
        before = Before(place, world, staged / "before")
        config = before.config()
        tracks = encoding.encode(
            before.runner(Engine("encode")), files, world, wanted(world, options), options.seed, show
        )
        torch.manual_seed(options.seed)
        reduction = Reduction(torch.from_numpy(joined(tracks.fit)))
        fitted = readouts.fit(tracks, reduction, options.seed, show) if tracks.readouts else None
        chosen, metric = None, None
        if plans(world) and not options.no_metric:
            chosen, metric = choose(before, tracks, reduction, options, staged, show)
        heads = Heads(None if fitted is None else fitted.head, metric)
        if heads == Heads():
            raise FitError(nothing(chosen, notes))
        new = promised(world, fitted, metric, chosen)
        changed = FromContract.of(new, config.feature_dim)
        made = write_engines(before, heads, world, changed, staged / "onnx", show)
        examples = proof.examples_of(joined(tracks.fit))
        large = any(map(has_external_data, made.values()))
        affected = {engine: file for engine, file in made.items() if heads.outputs(world, exact(engine))}
        candidates = LARGE_CANDIDATES if large else proof.CANDIDATES
        proved = proof.prove(before, affected, heads, changed, examples, candidates, show)
        counts = {part: len(getattr(tracks, part)) for part in ("fit", "choose", "held_out")}
        report = Report(name, counts, chosen, fitted, notes, not options.dry_run, proved.report())
        if not options.dry_run:
            write(staged, place, world, new, changed, made, report, placing)
    return report


def check(world: World, options: FitOptions) -> tuple[str, ...]:
    """What of a world cannot be fitted, in words; FitError where nothing can."""
    if world.target.name != "cpu":
        raise FitError(
            f"engines for {world.target.name} cannot be fitted yet; export the world for cpu, fit it, then build"
        )
    if world.observation.tubelet_size > 1:
        raise FitError(
            f"world {world.name} encodes {world.observation.tubelet_size} frames at a time, which fit cannot yet"
        )
    notes = []
    if not options.no_metric and "plan" not in world.verbs:
        notes.append(f"world {world.name} does not plan: it has no goal metric")
    elif not options.no_metric and not world.metric.needs_goal:
        notes.append(
            f"world {world.name} knows by itself what is good ({world.metric.name}): its plans stay as they are"
        )
    if world.readouts and not options.readouts and not options.no_readouts:
        kept = ", ".join(one.name for one in world.readouts)
        notes.append(f"world {world.name} keeps its readouts ({kept}); name others by --readout to replace them")
    return tuple(notes)


def plans(world: World) -> bool:
    """Whether plans of a world lead to goals."""
    return "plan" in world.verbs and world.metric.needs_goal


def wanted(world: World, options: FitOptions) -> tuple[Wanted, ...] | None:
    """Readouts to fit; none for a world that has some, unless others are named."""
    if options.no_readouts or (world.readouts and not options.readouts):
        return None
    return options.readouts


def nothing(chosen: MetricReport | None, notes: Sequence[str]) -> str:
    """Why there is nothing to write."""
    kept = ["no goal metric was better than the world's own"] if chosen is not None else []
    return "there is nothing to fit: " + "; ".join([*notes, *kept, "and no readouts were fitted"])


def joined(tracks: Sequence[encoding.Track]) -> Floats:
    """Latents `[N, D]` of all frames."""
    return np.concatenate([one.latents for one in tracks])


def choose(
    before: Before, tracks: Tracks, reduction: Reduction, options: FitOptions, scratch: Path, show: bool
) -> tuple[MetricReport, Distance | None]:
    """The metric that is best on the trajectories to choose by, and what it is worth on those held out.

    None where the world's own is at least as good, and none was asked for by name.
    """
    world = before.world
    name, own = own_metric.of(before, surgery.plan_engine(world), scratch)
    kinds = KINDS if options.metric is None else (options.metric,)
    fitted = {kind: fit_metric(kind, before, tracks, reduction, options, show) for kind in kinds}
    asked = {"own": own, **{kind: asking(metric) for kind, metric in fitted.items()}}
    pairs = Pairs.draw(tracks.choose, options.seed)
    tried = {kind: measures.of_frames(metric, pairs).correlation for kind, metric in asked.items()}
    best = max(kinds, key=lambda kind: tried[kind])
    keep = options.metric is None and not tried[best] > tried["own"]
    unseen = Pairs.draw(tracks.held_out, options.seed)
    problems = Problems.draw(tracks.held_out, before, world, options.seed)
    worth_before = worth(own, unseen, problems, world.metric)
    weights = contract_of(world, best)
    found = worth_before if keep else worth(asked[best], unseen, problems, weights)
    return MetricReport("kept" if keep else best, name, worth_before, found, tried), None if keep else fitted[best]


def fit_metric(
    kind: str, before: Before, tracks: Tracks, reduction: Reduction, options: FitOptions, show: bool
) -> Distance:
    """One of `KINDS`."""
    if kind == "slow":
        return metrics.slow(tracks.fit, reduction)
    noise = metrics.prediction_noise(before, tracks.fit)
    return metrics.temporal(tracks.fit, reduction, noise, options.seed, show)


def asking(metric: Distance) -> Metric:
    """A metric for measures."""

    def distance(latents: Floats, goals: Floats) -> Floats:
        with torch.inference_mode():
            return metric.between(torch.from_numpy(latents), torch.from_numpy(goals)[:, None]).numpy()

    return distance


def worth(metric: Metric, pairs: Pairs, problems: Problems | None, weights: GoalMetric) -> Worth:
    """All measures."""
    found = measures.of_frames(metric, pairs)
    ranking = None if problems is None else problems.ranking(metric, weights)
    return Worth(found.correlation, found.monotone, ranking)


def contract_of(world: World, kind: str) -> GoalMetric:
    """What a contract says of a fitted metric."""
    return GoalMetric(
        name=f"fitted {kind} distance",
        unit="model step" if kind == "temporal" else "1",
        needs_proprioception=bool(world.observation.proprioception),
        **WEIGHTS,
    )


def promised(world: World, fitted: Fitted | None, metric: Distance | None, chosen: MetricReport | None) -> World:
    """The contract of the fitted world, but for its digests; a calibration was another's."""
    update: dict[str, object] = {"calibration": None}
    if fitted is not None:
        update["readouts"] = fitted.contract
    if metric is not None and chosen is not None:
        update["goal_metric"] = contract_of(world, chosen.kind)
    return world.model_copy(update=update)


def exact(engine: Engine) -> Engine:
    """The engine that a coarse one is made of."""
    return engine.beside("exact") if engine.kind == "coarse" else engine


def write_engines(
    before: Before, heads: Heads, world: World, config: FromContract, place: Path, show: bool
) -> dict[Engine, Path]:
    """Write all engines, those of verbs that nothing changes as they were, in a folder of `place` for each verb."""
    listed = engines(world.verbs, world.engine_horizons, world.plan_precision)
    touched = {engine.verb for engine in listed if heads.outputs(world, exact(engine))}
    folders: dict[str, ExternalData] = {}
    for verb in world.verbs:
        (place / verb).mkdir(parents=True)
        folders[verb] = ExternalData(place / verb, show)
    files: dict[Engine, Path] = {}
    for engine in tqdm(listed, "writing engines", disable=not show):
        data, old = folders[engine.verb], before.file(engine)
        files[engine] = data.folder / engine.file
        if engine.verb not in touched:
            for file in (old, *([old.with_name(DATA_FILE)] if has_external_data(old) else [])):
                shutil.copyfile(file, data.folder / file.name)
        elif engine.kind == "coarse":
            coarse_engine(files[exact(engine)], files[engine], data)
        else:
            model = surgery.put(old, engine, heads, world, config)
            data.take(model)
            save(ir.to_proto(model), model.graph.name or engine.key, files[engine])
    return files


def write(
    staged: Path,
    place: Path,
    world: World,
    new: World,
    config: FromContract,
    files: Mapping[Engine, Path],
    report: Report,
    placing: repository.Placing | None,
) -> None:
    """Put the fitted world in its place; FitError where another version became live meanwhile."""
    everything = export.keyed(CPU, files)
    digests = {key: contract.file_digest(file) for key, file in everything.items()}
    new = new.model_copy(update={"digests": Digests(checkpoint=world.digests.checkpoint, engines=digests)})
    if repository.read(place, world.name).version != world.version:
        raise FitError(f"world {world.name} has another live version by now; nothing was written")
    said = {**export.as_report(new, everything), FIT: report.as_dict()}
    repository.write(staged, place, new, config, files, said, placing=placing)
