"""The backend that Triton Inference Server is: names and shapes of tensors, and nothing of what they mean.

    call -> tensors -> coalesce -> Triton -> answer

A background task asks every second whether Triton is ready and which worlds it has, so that a Triton that was
restarted, a world that was added, or another version of one is found without being told.
"""

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException
from wmserve.world import World

from wmserve_server import telemetry
from wmserve_server.backend import Encoded, Filled, Floats, Frames, Observed, Rolled, Start
from wmserve_server.coalescing import Coalescer, Tensors
from wmserve_server.discovery import Discovery, Key, described, discover
from wmserve_server.errors import BackendFault, Unavailable
from wmserve_server.inference import InferenceClient, channel_options
from wmserve_server.metrics import Metrics
from wmserve_server.planner.slices import Progress, Task, pack_task, unpack_progress
from wmserve_server.versions import Versions, amiss, choose, shares

log = logging.getLogger(__name__)

NAMES = ("dns:", "ipv4:", "ipv6:")
"""gRPC's own names, which may stand for several addresses."""
POLL_S = 1.0
REDIAL_S = 5.0
"""gRPC looks up again what it did not find, but waits longer each time, for minutes; a new channel looks at once."""
RETRY_AFTER_S = 1.0
REMEMBERED_S = 60.0
"""Seconds for which a world that is gone is taken to be on its way back."""
GONE = ("unknown model", "not found", "is not ready", "no available versions", "unloading")
"""What Triton says of a model that it does not have, or not any more."""
MAX_BATCH = {"encode": 32, "rollout": 8, "plan": 2}
"""Calls that travel together. Slices of searches fill an engine for milliseconds: few, so that nobody waits long."""
MAX_IN_FLIGHT = {"encode": 1, "rollout": 2, "plan": 2}
"""Batches on their way at once. A second one keeps an engine busy while the first travels, but keeps batches small too:
that pays where the engine's work outweighs the way."""
OUTPUTS = {"encode": {"latents"}, "rollout": {"disagreement"}, "fill": {"surprise"}, "plan": {"search"}}
"""Besides ``readouts``, which encode and rollout of a world without any do not have, and latents where they are asked
for: those of patches are too large to travel for nothing. ``fill`` is a rollout without actions."""
SCORES: Mapping[str, set[str]] = {"encode": {"ood"}, "rollout": {"error", "distance"}}
"""Besides these, where the world is calibrated."""


class TritonBackend:
    """Runs engines on one Triton; ``start`` before the first call, ``stop`` after the last."""

    def __init__(self, address: str, metrics: Metrics, engine_timeout_s: float, servers: int = 1) -> None:
        """Address is host:port of Triton's gRPC endpoint, or a gRPC name, as ``dns:///host:port``, of several.

        An engine may take so many seconds for a call. There are so many servers behind the address.
        """
        self._address = address
        self._engine_timeout_s = engine_timeout_s
        self._servers = servers
        self._dial()
        self._metrics = metrics
        self._coalescers: dict[tuple[str, bool], Coalescer] = {}
        """By engine, and whether latents are to come back."""
        self._discovery = Discovery({}, ())
        self._versions: Mapping[str, Versions] = {}
        self._looked = False
        """Whether Triton has ever said what it has."""
        self._looked_for: dict[str, float] = {}
        """By world that does not answer, since when; of the clock `time.monotonic`, like the next."""
        self._answered: dict[Key, float] = {}
        """By version, when it was last served."""
        self._unready: str | None = "Triton has not answered yet"
        self._poll_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch Triton."""
        self._poller = asyncio.create_task(self._poll_forever())

    async def stop(self) -> None:
        """Stop watching and hang up."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        await self._hang_up()

    def _dial(self) -> None:
        options = channel_options(several=self._address.startswith(NAMES))
        self._client = InferenceServerClient(self._address, channel_args=options)
        self._inference = InferenceClient(self._address, options)
        self._dialled = time.monotonic()

    async def _hang_up(self) -> None:
        await self._client.close()
        await self._inference.close()

    def versions(self) -> Mapping[str, Versions]:
        """Worlds served now, by name, in their versions."""
        return self._versions

    def in_transition(self, name: str, version: int | None) -> bool:
        """Whether a world that is not served, or a version of it, was served a moment ago or is being loaded."""
        if not self._looked:
            return True
        recent = time.monotonic() - REMEMBERED_S
        known = self._discovery.unready | {key for key, at in self._answered.items() if at > recent}
        return (name, version) in known or (version is None and name in {world for world, _ in known})

    def unready_reason(self) -> str | None:
        """Why calls cannot be answered now; None when they can."""
        return self._unready

    def problems(self) -> tuple[str, ...]:
        """Why there are worlds that are not served, if there are."""
        return self._discovery.problems

    async def encode(self, world: World, observed: Observed) -> Encoded:
        """Run the encoder on what was observed."""
        answer = await self._call(world, "encode", observed_tensors(observed), with_latents=True)
        return Encoded(answer["latents"], readouts(answer, answer["latents"].shape[:-1]), answer.get("ood"))

    async def rollout(self, world: World, start: Start, actions: Floats, with_latents: bool) -> Rolled:
        """Run the predictor on actions `[S, N, A]`, padded to the engine's horizon; what lies behind is cut off."""
        horizon = actions.shape[1] // world.action.action_block
        tensors = start_tensors(start) | {"actions": pad(actions, horizon, world)}
        answer = await self._call(world, "rollout", tensors, with_latents)
        spread = answer["disagreement"][:, :horizon]
        latents, error, distance = (
            answer[name][:, :horizon] if name in answer else None for name in ("latents", "error", "distance")
        )
        return Rolled(latents, spread, readouts(answer, spread.shape), error, distance)

    async def fill(self, world: World, observed: Observed, hidden: Frames, with_latents: bool) -> Filled:
        """Run the predictor on the hidden part `[L, P]`, 1 where hidden, of a clip."""
        answer = await self._call(world, "rollout", observed_tensors(observed) | {"hidden": hidden}, with_latents)
        return Filled(answer.get("latents"), answer["surprise"])

    async def advance(self, world: World, start: Start, goal: Floats | None, task: Task) -> Progress:
        """Take a search towards a goal `[D]` some iterations further; None where the world needs none."""
        tensors = start_tensors(start) | ({} if goal is None else {"goal": goal}) | {"search": pack_task(task)}
        answer = await self._call(world, "plan", tensors, turns=task.turns)
        try:
            return unpack_progress(answer["search"])
        except (ValueError, KeyError, TypeError, struct.error):
            raise BackendFault("an engine answered a search that cannot be read") from None

    async def _call(
        self, world: World, verb: str, tensors: Tensors, with_latents: bool = False, turns: int = 0
    ) -> Mapping[str, Any]:
        if self._unready is not None:
            raise Unavailable("the engines are not ready; try again shortly", retry_after_s=RETRY_AFTER_S)
        return await self._coalescer(world, verb, with_latents).call(tensors, turns)

    def _coalescer(self, world: World, verb: str, with_latents: bool) -> Coalescer:
        engine = world.engine(verb)
        if (engine, with_latents) not in self._coalescers:
            served = self._discovery.served.get((world.name, world.version))
            # Labelled by world and verb: versions come and go.
            sizes = self._metrics.batch_size.labels(f"{world.name}_{verb}")
            waits = self._metrics.queue_seconds.labels(verb)
            max_batch = 1 if served is None else min(served.max_batch[verb], MAX_BATCH[verb])

            async def send(tensors: Tensors) -> Tensors:
                # As it is served now, which whoever asks may not know yet: it may have been replaced.
                now = self._discovery.served.get((world.name, world.version))
                wanted = outputs(world if now is None else now.world, verb, with_latents)
                return await self._infer(engine, wanted, tensors)

            def observe(calls: int, waited_s: float) -> None:
                sizes.observe(calls)
                waits.inc(waited_s)

            in_flight = MAX_IN_FLIGHT[verb] * self._servers
            self._coalescers[engine, with_latents] = Coalescer(send, max_batch, in_flight, observe, engine)
        return self._coalescers[engine, with_latents]

    async def _infer(self, engine: str, wanted: set[str], tensors: Tensors) -> Tensors:
        try:
            answer = await self._inference.infer(
                engine, tensors, sorted(wanted), self._engine_timeout_s, telemetry.carrier()
            )
        except grpc.aio.AioRpcError as error:
            raise self._translate(engine, error) from None
        except ValueError:
            raise BackendFault("an engine answered what cannot be read") from None
        rows = len(next(iter(tensors.values())))
        if any(len(array) != rows for array in answer.values()):
            raise BackendFault("an engine answered another number of rows than it was asked")
        if not answer.keys() >= wanted:
            raise BackendFault("an engine left an output out")
        return answer

    def _translate(self, engine: str, error: grpc.aio.AioRpcError) -> Exception:
        """Say to callers what they can act on; the rest is for the log."""
        log.warning("engine %s failed: %s %s", engine, error.code().name, error.details())
        if gone(error):
            self._poll_now.set()
            return Unavailable("this version is not loaded any more; try again", retry_after_s=RETRY_AFTER_S)
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            self._unready = "Triton does not answer"
            self._poll_now.set()
            return Unavailable("the engines went away during the call; try again", retry_after_s=RETRY_AFTER_S)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable("the engine took too long; try again", retry_after_s=RETRY_AFTER_S)
        return BackendFault("an engine failed on this request")

    async def _poll_forever(self) -> None:
        while True:
            self._poll_now.clear()
            try:
                await self._poll()
            except Exception:  # whatever it is, the next look may find better
                log.exception("looking at Triton failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poll_now.wait(), POLL_S if self._unready is None else POLL_S / 4)

    async def _tried_out(self, found: Discovery) -> Discovery:
        """What is served of the found: versions that are new encode a blank frame first, each on every Triton.

        So no caller is the first one on the whole way, and a world that cannot encode does not hurt the others.
        """
        served, problems, unready = dict(found.served), list(found.problems), set(found.unready)
        for key, new in found.served.items():
            if self._discovery.served.get(key) == new and self._unready is None:
                continue
            if not await self._everywhere(new.world):
                unready.add(key)
                del served[key]
                continue
            blank = {name: array[None] for name, array in observed_tensors(nothing_seen(new.world)).items()}
            try:
                await self._inference.infer(new.world.engine("encode"), blank, ("latents",), self._engine_timeout_s)
            except (grpc.aio.AioRpcError, ValueError) as error:
                if isinstance(error, grpc.aio.AioRpcError) and gone(error):
                    unready.add(key)
                    del served[key]
                    continue
                if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAVAILABLE:
                    raise
                label = described(key, found.served)
                log.error("%s is not served, it does not encode: %s", label, error)
                del served[key]
                late = isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                within = f" within {self._engine_timeout_s:g} s (WMSERVE_ENGINE_TIMEOUT_S)" if late else ""
                problems.append(f"{label} does not encode{within}")
        return replace(found, served=served, problems=tuple(problems), unready=frozenset(unready))

    async def _everywhere(self, world: World) -> bool:
        """Whether every Triton behind the address has a version: they take turns at calls over this channel."""
        if self._servers == 1:
            return True
        models = [world.engine(verb) for verb in world.verbs]
        asked = [await self._client.is_model_ready(model) for model in models for _ in range(self._servers)]
        return all(asked)

    async def _poll(self) -> None:
        try:
            async with asyncio.timeout(POLL_S * 5):
                found = await discover(self._client, self._discovery)
            found = await self._tried_out(found)
        except (InferenceServerException, grpc.aio.AioRpcError, TimeoutError):
            self._unready = "Triton does not answer"
            if self._address.startswith(NAMES) and time.monotonic() - self._dialled > REDIAL_S:
                await self._hang_up()
                self._dial()
            return
        self._settle(found)

    def _settle(self, found: Discovery) -> None:
        """Take in what was found: which versions there are, and which of them answer from now on."""
        now = time.monotonic()
        worlds: dict[str, dict[int, World]] = {}
        for (name, version), served in found.served.items():
            worlds.setdefault(name, {})[version] = served.world
            self._answered[name, version] = now
        versions, problems = dict[str, Versions](), list(found.problems)
        for name in {name for name, _ in found.served.keys() | found.unready}:
            since = self._looked_for.setdefault(name, now)
            route, before = found.routes.get(name), self._versions.get(name)
            if before is None and name in found.unrouted:
                continue  # nobody knows yet which version is to answer
            # What is withheld will not be ready: the version before is no better for that.
            withheld = route is not None and (name, route.live) in found.withheld
            chosen = choose(name, worlds.get(name, {}), route, before, 0.0 if withheld else now - since)
            if chosen is not None:
                versions[name] = chosen
                del self._looked_for[name]
            if (problem := amiss(name, chosen, route)) is not None:
                problems.append(problem)
        found = replace(found, problems=tuple(sorted(problems)))
        if found != self._discovery or versions != self._versions:
            self._coalescers.clear()
            anew = [name for name, one in versions.items() if one.shares != shares(self._versions.get(name))]
            self._metrics.keep_versions(found.served, anew)
            self._metrics.set_worlds(known.answering for known in versions.values())
            log.info("serving worlds: %s", ", ".join(k.answering.address for k in versions.values()) or "none")
        self._discovery, self._versions, self._looked = found, versions, True
        self._unready = None if versions else "no world is served: " + ("; ".join(found.problems) or "none found")


def gone(error: grpc.aio.AioRpcError) -> bool:
    """Whether Triton answered that it does not have a model, or has just unloaded it."""
    details = (error.details() or "").lower()
    return error.code() is grpc.StatusCode.NOT_FOUND or any(words in details for words in GONE)


def outputs(world: World, verb: str, with_latents: bool) -> set[str]:
    """What an engine of a world has to answer."""
    graph = "fill" if verb == "rollout" and not world.action.axes else verb
    wanted = OUTPUTS[graph] | ({"latents"} if with_latents else set())
    if world.readouts and graph in ("encode", "rollout"):
        wanted |= {"readouts"}
    return wanted | (SCORES.get(graph, set()) if world.calibration else set())


def observed_tensors(observed: Observed) -> dict[str, NDArray[np.generic]]:
    """Inputs that say what was observed."""
    given = {"observations": observed.frames, "proprioception": observed.proprioception}
    return {name: array for name, array in given.items() if array is not None}


def nothing_seen(world: World) -> Observed:
    """Black frames, and proprioception as it is on the whole."""
    spec, count = world.observation, world.context_length
    frames = np.zeros((count, spec.native_height, spec.native_width, 3), np.uint8) if spec.frames else None
    means = np.array([[axis.mean for axis in spec.proprioception]] * count, np.float32)
    return Observed(frames, means if spec.proprioception else None)


def start_tensors(start: Start) -> dict[str, NDArray[np.generic]]:
    """Inputs that say where a rollout starts."""
    history = {} if start.action_history is None else {"action_history": start.action_history}
    return {"context": start.latents, **history}


def readouts(answer: Mapping[str, Floats], path: tuple[int, ...]) -> Floats:
    """Readouts `[*path, R]` of an answer, cut to the path; R is 0 where the world has none."""
    if "readouts" not in answer:
        return np.zeros((*path, 0), np.float32)
    return answer["readouts"][tuple(slice(size) for size in path)]


def pad(actions: Floats, horizon: int, world: World) -> Floats:
    """Repeat the last action until `N` fits the next engine horizon."""
    engine_horizon = min(size for size in world.engine_horizons if size >= horizon)
    missing = (engine_horizon - horizon) * world.action.action_block
    return np.pad(actions, ((0, 0), (0, missing), (0, 0)), mode="edge") if missing else actions
