/** The client: its methods and their names are those of the Python client. */

import { type ArrayLike, fromWire, isWireArray, toWire } from "./arrays.js";
import { Deadline } from "./deadline.js";
import * as requests from "./requests.js";
import { type Call, type Fetch, send } from "./transport.js";
import type {
  Acted,
  CallOptions,
  Context,
  Decision,
  Encoded,
  EncodeOptions,
  Goal,
  Observations,
  Observed,
  ObserveOptions,
  Plan,
  PlanOptions,
  Rollout,
  RolloutOptions,
  Source,
  World,
} from "./types.js";

export const DEFAULT_URL = "http://localhost:8080";
export const DEFAULT_TIMEOUT_MS = 30_000;
export const DEFAULT_MAX_RETRIES = 3;
const MAX_SERVER_TIMEOUT_MS = 600_000;

export interface ClientOptions {
  /** Deadline of calls that name none, milliseconds, retries included. */
  readonly timeoutMs?: number;
  /** How often a call is sent again where that is safe. */
  readonly maxRetries?: number;
  /** Sent with every call, such as what a proxy asks for. */
  readonly headers?: HeadersInit;
  /** In the place of the platform's own. */
  readonly fetch?: Fetch;
}

type Verb = "encode" | "rollout" | "plan" | "observe";
type Fields = Readonly<Record<string, unknown>>;

/** Talks to a server over HTTP; many calls at once. Methods reject with `WmserveError`. */
export class Client {
  readonly #url: string;
  readonly #timeoutMs: number;
  readonly #maxRetries: number;
  readonly #headers: HeadersInit;
  readonly #fetch: Fetch;

  constructor(url: string = DEFAULT_URL, options: ClientOptions = {}) {
    this.#url = url.replace(/\/+$/, "");
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#maxRetries = options.maxRetries ?? DEFAULT_MAX_RETRIES;
    this.#headers = options.headers ?? {};
    this.#fetch = options.fetch ?? ((address, init) => fetch(address, init));
  }

  /** Contracts of the worlds served now, by name. */
  async worlds(options: CallOptions = {}): Promise<readonly World[]> {
    const answer = (await this.#get("/v1/worlds", options)) as { readonly worlds: readonly World[] };
    return answer.worlds;
  }

  /** Contract of one world. */
  async world(name: string, options: CallOptions = {}): Promise<World> {
    return (await this.#get(`/v1/worlds/${encodeURIComponent(name)}`, options)) as World;
  }

  /** Encode frames into latents, kept behind a handle. */
  async encode(world: string, observations: Observations, options: EncodeOptions = {}): Promise<Encoded> {
    const asked = { observations: await requests.observations(observations) };
    return (await this.#verb("encode", world, asked, options)) as Encoded;
  }

  /**
   * Predict what actions `[S, N, A]` or `[N, A]`, environment units, will do.
   *
   * Of a world without actions: what the part of a clip is that is `hidden`, `[L, ...]`, 1 where it is.
   * Radii hold with probability `level`, one of the world's; those over `tolerance`, latent units, are of no use.
   */
  async rollout(
    world: string,
    context: Source | Context,
    actions?: ArrayLike,
    options: RolloutOptions = {},
  ): Promise<Rollout> {
    const asked = {
      context: await requests.context(context),
      actions: actions === undefined ? undefined : toWire(actions),
    };
    return (await this.#verb("rollout", world, asked, options)) as Rollout;
  }

  /**
   * Search for actions; with `deadline_ms` the best plan found by then, at least one iteration.
   *
   * A goal is left out only where the world itself knows what is good. Where the world is calibrated for plans, the
   * `guard` decides whether the plan is refused, for a `session` that has seen its world change also that.
   */
  async plan(world: string, context: Source | Context, goal?: Goal, options: PlanOptions = {}): Promise<Plan> {
    const { idempotencyKey = newKey(), ...rest } = options;
    const asked = {
      context: await requests.context(context),
      goal: goal === undefined ? undefined : await requests.goal(goal),
    };
    return (await this.#verb("plan", world, asked, rest, idempotencyKey)) as Plan;
  }

  /**
   * Tell what came of a plan, of which `executed_steps` environment steps were executed, or of other actions.
   *
   * What belongs together, such as an episode, is a `session`: its radius adapts to hold with probability `level`.
   */
  async observe(
    world: string,
    observation: Observations,
    done: Decision | Acted,
    options: ObserveOptions = {},
  ): Promise<Observed> {
    const { idempotencyKey = newKey(), ...rest } = options;
    const asked = { observation: await requests.observations(observation), ...(await requests.done(done)) };
    return (await this.#verb("observe", world, asked, rest, idempotencyKey)) as Observed;
  }

  async #get(path: string, options: CallOptions): Promise<unknown> {
    return this.#send({ url: this.#url + path, method: "GET", headers: this.#headers }, options);
  }

  async #verb(verb: Verb, world: string, own: Fields, options: CallOptions, key?: string): Promise<unknown> {
    const { timeoutMs = this.#timeoutMs, signal: _, ...rest } = options;
    const limit = verb === "plan" ? {} : { timeout_ms: serverTimeout(timeoutMs) }; // a plan has `deadline_ms`
    const body = JSON.stringify({ world, ...own, ...(requests.fields(rest) as Fields), ...limit });
    const headers = new Headers(this.#headers);
    headers.set("content-type", "application/json");
    if (key !== undefined) headers.set("idempotency-key", key);
    const call: Call = {
      url: `${this.#url}/v1/${verb}?arrays=base64`,
      method: "POST",
      headers,
      body,
    };
    return decoded((await this.#send(call, options)) as Fields);
  }

  async #send(call: Call, options: CallOptions): Promise<unknown> {
    const deadline = new Deadline(options.timeoutMs ?? this.#timeoutMs, options.signal);
    try {
      return await send(this.#fetch, call, deadline, this.#maxRetries);
    } finally {
      deadline.close();
    }
  }
}

/** What the server, too, is to give up after. */
function serverTimeout(timeoutMs: number): number {
  return Math.min(Math.max(1, Math.ceil(timeoutMs)), MAX_SERVER_TIMEOUT_MS);
}

function decoded(answer: Fields): Fields {
  return Object.fromEntries(
    Object.entries(answer).map(([name, value]) => [name, isWireArray(value) ? fromWire(value) : value]),
  );
}

/** Random; not `randomUUID`, which pages have only over HTTPS. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
