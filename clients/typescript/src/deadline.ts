/** One call's time: a signal that fires when it is up, or when the caller's own signal does. */

import { DeadlineExceeded } from "./errors.js";

export class Deadline {
  readonly #controller = new AbortController();
  readonly #at: number;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #caller: AbortSignal | undefined;
  readonly #onAbort = (): void => this.#controller.abort(this.#caller?.reason);

  /** Throws the reason of a caller's signal that has fired already. `close` it, or its timer stays. */
  constructor(timeoutMs: number, caller?: AbortSignal) {
    caller?.throwIfAborted();
    this.#at = performance.now() + timeoutMs;
    const late = () => new DeadlineExceeded(`no answer within ${timeoutMs} ms`, { reason: "deadline_exceeded" });
    this.#timer = setTimeout(() => this.#controller.abort(late()), timeoutMs);
    this.#caller = caller;
    caller?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Fires with {@link DeadlineExceeded}, or with the reason of the caller's signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get leftMs(): number {
    return this.#at - performance.now();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#onAbort);
  }

  /** Wait; throws the signal's reason when that fires first. */
  async sleep(ms: number): Promise<void> {
    this.signal.throwIfAborted();
    let wake: () => void = () => undefined;
    const slept = new Promise<void>((resolve) => (wake = resolve));
    const timer = setTimeout(wake, ms);
    this.signal.addEventListener("abort", wake, { once: true });
    await slept;
    clearTimeout(timer);
    this.signal.removeEventListener("abort", wake);
    this.signal.throwIfAborted();
  }
}
