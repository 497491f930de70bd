/**
 * Sends a call, and sends it again where that is safe and there is time.
 *
 * | the call found        | a verb that only reads | `observe`, which learns                          |
 * |-----------------------|------------------------|--------------------------------------------------|
 * | 429, shed             | again                  | again: it was not looked at                      |
 * | 503                   | again                  | again if wmserve itself says so: it has not learnt |
 * | no answer             | again                  | again only if there was no connection            |
 * | 409, its key in use   | again                  | again: the server knows that it is the same call |
 * | any other error       | not again              | not again                                        |
 *
 * Back-off doubles from 100 ms to 1 s, jittered; a server's Retry-After is waited for. A call that would wait past its
 * deadline fails at once with what it met. The tries of a call are the same bytes, so that one idempotency key names
 * them all.
 */

import { Deadline } from "./deadline.js";
import { fromAnswer, Overloaded, Unavailable } from "./errors.js";

const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 1000;
/** What Node says of a connection that was never made; browsers do not say. */
const NEVER_CONNECTED: ReadonlySet<unknown> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface Call {
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly headers: HeadersInit;
  readonly body?: string;
  /** Whether the server learns from it. */
  readonly learns: boolean;
}

/** The answer's JSON. Throws `WmserveError`, or the reason of the deadline's signal. */
export async function send(fetch: Fetch, call: Call, deadline: Deadline, maxRetries: number): Promise<unknown> {
  for (let retries = 0; ; retries += 1) {
    try {
      return await once(fetch, call, deadline);
    } catch (error) {
      const pauseMs = pause(retries, error);
      if (retries >= maxRetries || !mayRepeat(error, call.learns) || pauseMs >= deadline.leftMs) throw error;
      await deadline.sleep(pauseMs);
    }
  }
}

async function once(fetch: Fetch, call: Call, deadline: Deadline): Promise<unknown> {
  const { method, headers, body = null } = call;
  let response: Response;
  let text: string;
  try {
    response = await fetch(call.url, { method, headers, body, signal: deadline.signal });
    text = await response.text();
  } catch (cause) {
    deadline.signal.throwIfAborted();
    throw new Unavailable("nobody answers", { reason: "unavailable", cause });
  }
  if (!response.ok) throw fromAnswer(response.status, response.headers.get("retry-after"), text);
  return JSON.parse(text);
}

function mayRepeat(error: unknown, learns: boolean): boolean {
  if (error instanceof Overloaded) return true;
  if (!(error instanceof Unavailable)) return false;
  if (!learns || error.status === 409) return true;
  return error.status === undefined ? neverConnected(error.cause) : error.reason === "unavailable";
}

function neverConnected(cause: unknown): boolean {
  const inner = cause instanceof Error ? cause.cause : undefined;
  return typeof inner === "object" && inner !== null && "code" in inner && NEVER_CONNECTED.has(inner.code);
}

function pause(retries: number, error: unknown): number {
  const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** retries, LONGEST_BACKOFF_MS);
  const asked = error instanceof Overloaded || error instanceof Unavailable ? (error.retryAfterS ?? 0) * 1000 : 0;
  return asked + backoff * (0.5 + Math.random() / 2);
}
