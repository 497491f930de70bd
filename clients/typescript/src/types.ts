/**
 * What calls take and return, derived from the server's OpenAPI document (`openapi.ts` is generated from it).
 *
 * Fields are spelled as on the wire, in the documents and in Python: `return_latents`, `latents_id`. What is this
 * client's own is spelled as TypeScript has it: `timeoutMs`, `retryAfterS`.
 */

import type { ArrayLike, NdArray, TypedArray, WireArray } from "./arrays.js";
import type { components } from "./openapi.js";

type Schemas = components["schemas"];
type HoldsArray<T> = [Extract<T, WireArray>] extends [never] ? false : true;
type Nullable<T> = { [K in keyof T]-?: null extends T[K] ? K : never }[keyof T];

/** An answer's type: arrays are {@link NdArray}, and only what may be null may be left out. */
type Answer<T> =
  HoldsArray<T> extends true
    ? NdArray | Extract<T, null>
    : T extends readonly (infer Item)[]
      ? readonly Answer<Item>[]
      : T extends object
        ? { readonly [K in Exclude<keyof T, Nullable<T>>]-?: Answer<Exclude<T[K], undefined>> } & {
            readonly [K in Nullable<T>]?: Answer<T[K]>;
          }
        : T;

/** A request's type: arrays are anything that can be taken for one. */
type Given<T> =
  HoldsArray<T> extends true
    ? ArrayLike | Extract<T, null | undefined>
    : T extends readonly unknown[]
      ? T
      : T extends object
        ? { readonly [K in keyof T]: Given<T[K]> }
        : T;

/** A world's contract: what it takes, what it promises, within which bounds. */
export type World = Answer<Schemas["World"]>;
export type Encoded = Answer<Schemas["EncodeResponse"]>;
export type Rollout = Answer<Schemas["RolloutResponse"]>;
export type Observed = Answer<Schemas["ObserveResponse"]>;
/** A plan; a refused one is not to be executed, and has actions only if `guard.return_refused` asked for them. */
export type Plan = Omit<Answer<Schemas["PlanResponse"]>, "status" | "actions"> &
  ({ readonly status: "ok"; readonly actions: NdArray } | { readonly status: "refused"; readonly actions?: NdArray });

/** A PNG or JPEG file: its bytes, or base64 of them, or a `data:` URL. */
export type ImageFile = Uint8Array | Blob | string;
/** A file, or `T` files of equal size, or pixels `[T, h, w, 3]` or `[h, w, 3]` uint8, RGB. */
export type Frames = ImageFile | readonly ImageFile[] | NdArray<Uint8Array>;

/** What was observed where frames are not all: of a robot that also says of itself where it is. */
export interface Observation {
  /** Left out for a world that looks at none. */
  readonly frames?: Frames;
  /** `[T, Q]` or `[Q]`, environment units, one row per frame. */
  readonly proprioception: ArrayLike;
}
export type Observations = Frames | Observation;

/** An earlier answer, which stands for the latents that it has a handle of: NotFound where none could be kept. */
export type Handle = Encoded | Observed | Plan | { readonly latents_id: string };
/** A plan, or its handle: NotFound where none could be kept. */
export type Decision = Plan | { readonly decision_id: string } | string;
/** What was observed, or latents `[L, D]` or `[D]`, or an earlier answer, or its `latents_id`. */
export type Source = Observations | NdArray<Exclude<TypedArray, Uint8Array>> | Handle;

/** A start of several frames: its source, and the actions between the frames `[(T - 1) * action_block, A]`. */
export interface Context {
  readonly source: Source;
  readonly action_history: ArrayLike;
}

/** A source, or wanted values of some readouts. */
export type Goal = Source | Readonly<Record<string, number>>;

/** What was done: from a source on, actions `[N, A]`, environment units. */
export interface Acted {
  readonly source: Source | Context;
  readonly actions: ArrayLike;
}

/** Of any call. */
export interface CallOptions {
  /** The call's deadline, milliseconds; default: the client's. */
  readonly timeoutMs?: number;
  /** Ends the call, and its work in the server; it then fails with this signal's reason. */
  readonly signal?: AbortSignal;
}

type Fields<T, K extends keyof T> = { readonly [P in K]?: Given<T[P]> };

export type EncodeOptions = CallOptions & Fields<Schemas["EncodeRequest"], "return_latents">;
export type RolloutOptions = CallOptions &
  Fields<Schemas["RolloutRequest"], "hidden" | "return_latents" | "level" | "tolerance">;
/** Of calls that are to be done once. */
export interface KeyOptions {
  /** Names this call: with the same key it is answered as before, for ten minutes. Default: a new one for each call. */
  readonly idempotencyKey?: string;
}

export type PlanOptions = CallOptions &
  KeyOptions &
  Fields<
    Schemas["PlanRequest"],
    "planner" | "limits" | "deadline_ms" | "constraints" | "guard" | "session" | "execute_steps"
  >;
export type ObserveOptions = CallOptions &
  KeyOptions &
  Fields<Schemas["ObserveRequest"], "executed_steps" | "session" | "level">;
