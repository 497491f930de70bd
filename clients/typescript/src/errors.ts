/**
 * What a call can fail with; the names are those of the Python client.
 *
 *     WmserveError             anything a server or the way to it said no with
 *      |- InvalidRequest       the request is wrong; `field` names where
 *      |- NotFound             no such world, or a handle that has expired: encode again
 *      |- Overloaded           too much in flight; try again after `retryAfterS`
 *      |- DeadlineExceeded     no answer in time
 *      |- Unavailable          nobody answers, or the engines are not ready
 *      `- BackendFault         an engine failed, or answered what cannot be true
 *
 * A call that its caller's own signal ends fails with that signal's reason, as `fetch` does.
 */

/** What is known of a failure. */
export interface Failure {
  /** Stable, for programs. */
  readonly reason: string;
  /** The field that is wrong, where there is one. */
  readonly field?: string | undefined;
  /** HTTP status; undefined where nobody answered. */
  readonly status?: number | undefined;
  /** Seconds after which to come back, where the server says so. */
  readonly retryAfterS?: number | undefined;
  /** What went wrong on the way, where nobody answered. */
  readonly cause?: unknown;
}

export class WmserveError extends Error {
  override readonly name: string = "WmserveError";
  readonly reason: string;
  readonly field: string | undefined;
  readonly status: number | undefined;
  readonly retryAfterS: number | undefined;

  constructor(message: string, failure: Failure) {
    super(message, failure.cause === undefined ? undefined : { cause: failure.cause });
    this.reason = failure.reason;
    this.field = failure.field;
    this.status = failure.status;
    this.retryAfterS = failure.retryAfterS;
  }
}

/** The request is malformed or out of bounds, or asks what its world does not answer (`verb_not_served`). */
export class InvalidRequest extends WmserveError {
  override readonly name = "InvalidRequest";
}

/** No such world, or latents that are unknown or expired. */
export class NotFound extends WmserveError {
  override readonly name = "NotFound";
}

/** The server is busy. */
export class Overloaded extends WmserveError {
  override readonly name = "Overloaded";
}

/** No answer within the call's time. */
export class DeadlineExceeded extends WmserveError {
  override readonly name = "DeadlineExceeded";
}

/** No server answers, or its engines are not ready. */
export class Unavailable extends WmserveError {
  override readonly name = "Unavailable";
}

/** An engine failed. */
export class BackendFault extends WmserveError {
  override readonly name = "BackendFault";
}

const BY_STATUS: Readonly<Record<number, typeof WmserveError>> = {
  404: NotFound,
  409: Unavailable, // the first try with this idempotency key is still being answered
  429: Overloaded,
  503: Unavailable,
  504: DeadlineExceeded,
};

/** The error for an answer that is no success, from its problem+json (RFC 9457) or, from others than wmserve, its status. */
export function fromAnswer(status: number, retryAfter: string | null, text: string): WmserveError {
  const problem = parsed(text);
  const kind = BY_STATUS[status] ?? (status < 500 ? InvalidRequest : BackendFault);
  return new kind(problem.detail ?? problem.title ?? `the server answered ${status}`, {
    reason: problem.reason ?? `http_${status}`,
    field: problem.field,
    status,
    retryAfterS: seconds(retryAfter),
  });
}

function parsed(text: string): Partial<Record<string, string>> {
  try {
    const problem: unknown = JSON.parse(text);
    return typeof problem === "object" && problem !== null ? problem : {};
  } catch {
    return {};
  }
}

/** Retry-After is a number of seconds, or a date. */
function seconds(retryAfter: string | null): number | undefined {
  if (retryAfter === null || retryAfter.trim() === "") return undefined;
  const given = Number(retryAfter);
  const left = Number.isNaN(given) ? (Date.parse(retryAfter) - Date.now()) / 1000 : given;
  return Number.isNaN(left) ? undefined : Math.max(0, left);
}
