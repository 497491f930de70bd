/** What is sent again, against a network that fails: servers that answer from a script, or hang up. */

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { Client, type ClientOptions } from "wmserve";

type Script = ((request: IncomingMessage, response: ServerResponse) => void)[];

const PLAN = { status: "refused", reasons: ["goal"] };
const problem =
  (status: number, reason: string, headers: Record<string, string> = {}) =>
  (_: IncomingMessage, response: ServerResponse) =>
    void response
      .writeHead(status, { "content-type": "application/problem+json", ...headers })
      .end(JSON.stringify({ status, reason, detail: "not now" }));
const ok = (_: IncomingMessage, response: ServerResponse) => void response.end(JSON.stringify(PLAN));
const hangUp = (request: IncomingMessage) => void request.socket.destroy();
const stopHalfWay = (request: IncomingMessage, response: ServerResponse) => {
  response.writeHead(200, { "content-length": "100" }).write("{");
  setTimeout(() => request.socket.destroy(), 10);
};
interface Seen {
  readonly key: string | undefined;
  readonly body: string;
}

/** Run calls against a server that answers by the script, the last line again and again; the requests it saw. */
async function scripted(
  script: Script,
  calls: (client: Client) => Promise<void>,
  options: ClientOptions = {},
): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      seen.push({ key: request.headers["idempotency-key"] as string | undefined, body });
      (script[seen.length - 1] ?? script.at(-1) ?? ok)(request, response);
    });
  }).listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  try {
    await calls(new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, options));
  } finally {
    server.closeAllConnections();
    server.close();
  }
  return seen;
}

test("a plan is sent again after 503, 429, a hang-up and half an answer, with one key", async () => {
  const script = [problem(503, "unavailable"), hangUp, stopHalfWay, ok];
  const seen = await scripted(script, async (client) => {
    assert.equal((await client.plan("w", "frame", "frame")).status, "refused");
    assert.equal((await client.plan("w", "frame", "frame", { idempotencyKey: "mine" })).status, "refused");
  });
  const keys = seen.map((request) => request.key);
  assert.equal(keys.length, 5);
  assert.equal(new Set(keys.slice(0, 4)).size, 1);
  assert.match(keys[0] ?? "", /^[0-9a-f]{32}$/);
  assert.equal(keys[4], "mine");
});

test("it gives up after as many retries as the client has", async () => {
  const give = (client: Client) =>
    assert.rejects(client.worlds(), { name: "Unavailable", status: 503, retryAfterS: 0 });
  const seen = await scripted([problem(503, "unavailable", { "retry-after": "0" })], give, { maxRetries: 2 });
  assert.equal(seen.length, 3);
});

test("Retry-After is waited for, but not past the deadline", async () => {
  const busy = problem(429, "overloaded", { "retry-after": "1" });
  const began = performance.now();
  assert.equal((await scripted([busy, ok], async (client) => void (await client.encode("w", "frame")))).length, 2);
  assert.ok(performance.now() - began >= 1000);
  const again = performance.now();
  const seen = await scripted([busy], (client) =>
    assert.rejects(client.encode("w", "frame", { timeoutMs: 900 }), { name: "Overloaded", retryAfterS: 1 }),
  );
  assert.equal(seen.length, 1);
  assert.ok(performance.now() - again < 500);
});

test("a caller's signal ends the wait between two tries", async () => {
  const busy = problem(429, "overloaded", { "retry-after": "5" });
  const began = performance.now();
  await scripted([busy], (client) =>
    assert.rejects(client.worlds({ signal: AbortSignal.timeout(100) }), { name: "TimeoutError" }),
  );
  assert.ok(performance.now() - began < 1000);
});

test("what the server refused is not sent again", async () => {
  for (const [status, name] of [
    [400, "InvalidRequest"],
    [502, "BackendFault"],
    [504, "DeadlineExceeded"],
  ] as const) {
    const seen = await scripted([problem(status, "any")], (client) => assert.rejects(client.worlds(), { name }));
    assert.equal(seen.length, 1);
  }
});

test("observe, which learns, is sent again under one key, as the same bytes", async () => {
  const script = [problem(503, "unavailable"), problem(409, "idempotency_key_in_use"), hangUp, ok];
  const seen = await scripted(script, async (client) => void (await client.observe("w", "frame", "decision")));
  assert.equal(seen.length, 4);
  assert.ok(seen[0]?.key);
  assert.equal(new Set(seen.map(({ key, body }) => `${key} ${body}`)).size, 1);
});

test("nobody there is Unavailable, within the deadline", async () => {
  const address = await new Promise<string>((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => found(`http://127.0.0.1:${port}`));
    });
  });
  let asked = 0;
  const counting = (url: string, init: RequestInit) => ((asked += 1), fetch(url, init));
  const nobody = new Client(address, { fetch: counting, timeoutMs: 5000 });
  await assert.rejects(nobody.observe("w", "frame", "decision"), { name: "Unavailable", status: undefined });
  assert.equal(asked, 4);
});
