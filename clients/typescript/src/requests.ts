/**
 * Builds the bodies of requests from what a caller has at hand: files, pixels, handles, earlier answers.
 *
 * Nothing is checked here that the server checks; it knows the world.
 */

import { isBytes, isTypedArray, NdArray, toBase64, toWire } from "./arrays.js";
import { NotFound } from "./errors.js";
import type {
  Acted,
  Context,
  Decision,
  Frames,
  Goal,
  Handle,
  ImageFile,
  Observation,
  Observations,
  Source,
} from "./types.js";

type Json = Readonly<Record<string, unknown>>;

/** What handles look like; base64 has no underscore, so no image is taken for one. */
const HANDLE = /^lat_[A-Za-z0-9_-]{22}$/;

export async function observations(seen: Observations): Promise<unknown> {
  if (!isObservation(seen)) return frames(seen);
  const said = { proprioception: toWire(seen.proprioception) };
  if (seen.frames === undefined) return said;
  const { frames: given } = seen;
  return given instanceof NdArray ? { ...said, array: toWire(given) } : { ...said, images: await frames(given) };
}

async function frames(given: Frames): Promise<unknown> {
  if (given instanceof NdArray) return toWire(given);
  return isList(given) ? Promise.all(given.map(file)) : file(given);
}

async function file(given: ImageFile): Promise<string> {
  if (typeof given === "string") return given.startsWith("data:") ? given.slice(given.indexOf(",") + 1) : given;
  return toBase64(given instanceof Blob ? new Uint8Array(await given.arrayBuffer()) : given);
}

async function source(given: Source, observationField: string): Promise<Json> {
  if (typeof given === "string" && HANDLE.test(given)) return { latents_id: given };
  if (isAnswer(given)) return { latents_id: kept(given.latents_id, "latents") };
  if (given instanceof NdArray && !isBytes(given.data)) return { latents: toWire(given) };
  return { [observationField]: await observations(given as Observations) };
}

export async function context(given: Source | Context): Promise<Json> {
  if (!isContext(given)) return source(given, "observations");
  return { ...(await source(given.source, "observations")), action_history: toWire(given.action_history) };
}

export async function goal(given: Goal): Promise<Json> {
  return isReadouts(given) ? { readouts: given } : source(given as Source, "observation");
}

export async function done(given: Decision | Acted): Promise<Json> {
  if (typeof given === "string") return { decision_id: given };
  if (!("source" in given)) return { decision_id: kept(given.decision_id, "decision") };
  return { acted: { context: await context(given.source), actions: toWire(given.actions) } };
}

/** A handle of an answer; NotFound where the server could keep nothing behind one. */
function kept(handle: string | null | undefined, what: "latents" | "decision"): string {
  if (handle) return handle;
  throw new NotFound("the server could not keep what this answer stands for; ask again", {
    reason: `${what}_not_found`,
    field: `${what}_id`,
  });
}

/** Options as they travel: arrays encoded wherever they are, the rest as it is. */
export function fields(value: unknown): unknown {
  if (value instanceof NdArray || isTypedArray(value)) return toWire(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, fields(field)]));
}

function isList(given: Frames): given is readonly ImageFile[] {
  return Array.isArray(given);
}

function isObservation(given: Observations): given is Observation {
  return typeof given === "object" && "proprioception" in given;
}

function isAnswer(given: Source): given is Handle {
  if (typeof given !== "object" || Array.isArray(given) || isTypedArray(given)) return false;
  return !(given instanceof NdArray || given instanceof Blob || "proprioception" in given);
}

function isContext(given: Source | Context): given is Context {
  return typeof given === "object" && "source" in given;
}

function isReadouts(given: Goal): given is Readonly<Record<string, number>> {
  if (typeof given !== "object" || given instanceof NdArray || given instanceof Blob || isTypedArray(given))
    return false;
  return !Array.isArray(given) && Object.values(given).every((wanted) => typeof wanted === "number");
}
