/**
 * Sends a call, and sends it again where that is safe and there is time: after 429 (it was shed), 503, 409 (its key is
 * in use: the first try is still being answered), and no answer at all. What else the server refused is not sent again.
 *
 * `encode` and `rollout` only read. `plan`, to be made once, and `observe`, which learns, carry an idempotency key: a
 * server that hears a call again answers as before. The tries of a call are the same bytes, so that its key names them
 * all.
 *
 * Back-off doubles from 100 ms to 1 s, jittered; a server's Retry-After is waited for. A call that would wait past its
 * deadline fails at once with what it met.
 */

import { Deadline } from "./deadline.js";
import { fromAnswer, Overloaded, Unavailable } from "./errors.js";

const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 1000;

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface Call {
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly headers: HeadersInit;
  readonly body?: string;
}

/** The answer's JSON. Throws `WmserveError`, or the reason of the deadline's signal. */
export async function send(fetch: Fetch, call: Call, deadline: Deadline, maxRetries: number): Promise<unknown> {
  for (let retries = 0; ; retries += 1) {
    try {
      return await once(fetch, call, deadline);
    } catch (error) {
      const pauseMs = pause(retries, error);
      if (retries >= maxRetries || !mayRepeat(error) || pauseMs >= deadline.leftMs) throw error;
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

function mayRepeat(error: unknown): error is Overloaded | Unavailable {
  return error instanceof Overloaded || error instanceof Unavailable;
}

function pause(retries: number, error: unknown): number {
  const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** retries, LONGEST_BACKOFF_MS);
  const asked = mayRepeat(error) ? (error.retryAfterS ?? 0) * 1000 : 0;
  return asked + backoff * (0.5 + Math.random() / 2);
}
