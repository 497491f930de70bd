/**
 * The client of a wmserve server, for Node and browsers.
 *
 *     const client = new Client("http://localhost:8080");
 *     const plan = await client.plan("two_room", frame, { agent_x: 180, agent_y: 60 });
 *     if (plan.status === "ok") execute(plan.actions);
 */

export { NdArray } from "./arrays.js";
export type { ArrayLike, NestedNumbers, TypedArray } from "./arrays.js";
export { Client, DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT_MS, DEFAULT_URL } from "./client.js";
export type { ClientOptions } from "./client.js";
export * from "./errors.js";
export type { components, operations, paths } from "./openapi.js";
export type { Fetch } from "./transport.js";
export type * from "./types.js";
