/** The client against a real server; the same behaviour as tests/client/test_client.py asks of the Python client. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as wm from "wmserve";
import { client, goal, LONG, QUICK, start, URL_UNDER_TEST, WORLD } from "./server.js";

const still = [...Array(5)].map(() => [0, 0]);

test("worlds come with their contract", async () => {
  const world = await client.world(WORLD);
  assert.ok((await client.worlds()).some((listed) => listed.name === WORLD));
  assert.deepEqual(
    world.action.axes.map((axis) => [axis.low, axis.high]),
    [
      [-1, 1],
      [-1, 1],
    ],
  );
  assert.equal(world.readouts[0]?.name, "agent_x");
  assert.equal(world.action.action_block, 5);
});

test("bytes, a Blob, base64 and a data URL are one image", async () => {
  const text = start.toString("base64");
  const given = [start, new Blob([start]), text, `data:image/png;base64,${text}`, [start]];
  const encoded = await Promise.all(given.map((image) => client.encode(WORLD, image, { return_latents: true })));
  for (const answer of encoded) assert.deepEqual(answer.latents, encoded[0]?.latents);
  assert.ok(encoded[0]?.latents?.data instanceof Float32Array);
  assert.equal((await client.encode(WORLD, start)).latents, undefined);
});

test("pixels are an array of bytes", async () => {
  const grey = new wm.NdArray(new Uint8Array(64 * 64 * 3).fill(128), [64, 64, 3]);
  const one = await client.encode(WORLD, grey);
  assert.deepEqual(one.readouts.shape, [1, 3]);
  assert.ok((one.ood_p_value?.[0] ?? 1) < 0.01, "nothing like it was seen in calibration");
});

test("every way to say a context leads to the same rollout", async () => {
  const encoded = await client.encode(WORLD, start, { return_latents: true });
  assert.ok(encoded.latents);
  const actions = new wm.NdArray(new Float32Array(2 * 10 * 2).fill(0.5), [2, 10, 2]);
  const contexts: wm.Source[] = [start, encoded, encoded.latents_id ?? "none", encoded.latents, encoded.latents.at(-1)];
  const rollouts = await Promise.all(contexts.map((context) => client.rollout(WORLD, context, actions)));
  const lists = await client.rollout(WORLD, start, actions.toList() as wm.NestedNumbers);
  assert.deepEqual(rollouts[0]?.disagreement.shape, [2, 2]);
  assert.deepEqual(rollouts[0]?.radius?.shape, [2, 2]);
  for (const rollout of [...rollouts, lists]) assert.deepEqual(rollout.readouts, rollouts[0]?.readouts);
});

test("a goal is a picture, a handle, latents or named values", async () => {
  const from = await client.encode(WORLD, start);
  const to = await client.encode(WORLD, goal, { return_latents: true });
  assert.ok(to.latents);
  const goals: wm.Goal[] = [goal, to, to.latents.at(0)];
  const plans = await Promise.all(goals.map((target) => client.plan(WORLD, from, target, { planner: QUICK })));
  for (const plan of plans) assert.deepEqual(plan.actions, plans[0]?.actions);
  const named = await client.plan(WORLD, from, { agent_x: 100 }, { planner: QUICK });
  assert.equal(named.goal_latents_id, undefined);
});

test("limits, a warm start and a deadline are kept to", async () => {
  const limits = {
    low: [-0.5, -0.5],
    high: new Float32Array([0.5, 0.5]),
    max_rate: [0.2, 0.2],
    previous_action: [0, 0],
  };
  const guard = { refusal_level: 0.9999 };
  const plan = await client.plan(WORLD, start, goal, { planner: QUICK, limits, guard });
  assert.ok(plan.status === "ok");
  assert.ok(plan.actions.data.every((component) => Math.abs(component) <= 0.5));
  assert.equal(plan.iterations, 2);
  const again = { ...QUICK, iterations: 1, seed: 9, warm_start: plan.actions };
  const better = await client.plan(WORLD, plan, goal, { planner: again, limits });
  assert.ok(better.cost <= plan.cost + 1e-5);
  const rushed = await client.plan(WORLD, plan, goal, { planner: LONG, deadline_ms: 150 });
  assert.equal(rushed.stop_reason, "deadline");
});

test("a refused plan comes without actions, unless they are asked for", async () => {
  const constraints = [{ kind: "keep_in", readouts: { agent_x: [0, 1] } }] as const;
  const plan = await client.plan(WORLD, start, goal, { planner: QUICK, constraints });
  assert.equal(plan.status, "refused");
  assert.ok(plan.reasons.includes("constraint"));
  assert.equal(plan.actions, undefined);
  const shown = await client.plan(WORLD, start, goal, { planner: QUICK, constraints, guard: { return_refused: true } });
  assert.equal(shown.status, "refused");
  assert.equal(shown.actions?.shape[1], 2);
});

test("what came of a plan, or of other actions, is observed", async () => {
  const plan = await client.plan(WORLD, start, goal, { planner: QUICK });
  const session = String(Math.random());
  const surprised = await client.observe(WORLD, start, plan, { executed_steps: 5, session });
  assert.equal(surprised.observed, 1);
  const acted = { source: start, actions: still };
  const expected = await client.observe(WORLD, start, acted, { session });
  assert.equal(expected.observed, 2);
  assert.ok(expected.error < surprised.error);
});

test("what is heard twice, since its answer was lost, is planned and learnt from once", async () => {
  let lost = 0;
  const losing = async (url: string, init: RequestInit) => {
    const answer = await fetch(url, init);
    if ((lost += 1) % 2) throw new TypeError("the answer was lost");
    return answer;
  };
  const unlucky = new wm.Client(URL_UNDER_TEST, { fetch: losing });
  const plan = await unlucky.plan(WORLD, start, goal, { planner: QUICK, idempotencyKey: `lost ${Math.random()}` });
  const session = String(Math.random());
  assert.equal((await unlucky.observe(WORLD, start, plan, { session })).observed, 1);
  assert.equal(lost, 4);
  assert.equal((await client.observe(WORLD, start, plan, { session })).observed, 2);
});

test("a key names one call: another with the same key is refused", async () => {
  const idempotencyKey = String(Math.random());
  const plan = await client.plan(WORLD, start, goal, { planner: QUICK, idempotencyKey });
  const again = await client.plan(WORLD, start, goal, { planner: QUICK, idempotencyKey });
  assert.equal(again.decision_id, plan.decision_id);
  const other = client.plan(WORLD, start, { agent_x: 100 }, { planner: QUICK, idempotencyKey });
  await assert.rejects(other, { name: "InvalidRequest", reason: "idempotency_key_reused", status: 422 });
});

test("an answer without a handle, since none could be kept, is not found", async () => {
  const { latents_id: _, ...unkept } = await client.encode(WORLD, start);
  await assert.rejects(client.plan(WORLD, unkept, goal), { name: "NotFound", reason: "latents_not_found" });
});

test("each refusal is the error of its kind, with reason, field and status", async () => {
  await assert.rejects(client.encode("mars", start), {
    name: "NotFound",
    reason: "world_not_found",
    field: "world",
    status: 404,
  });
  await assert.rejects(client.rollout(WORLD, `lat_${"x".repeat(22)}`, still), {
    name: "NotFound",
    reason: "latents_not_found",
  });
  await assert.rejects(client.rollout(WORLD, start, [...still, [0, 0]]), {
    name: "InvalidRequest",
    field: "actions",
    status: 400,
  });
  const large = new wm.NdArray(new Uint8Array(2 * 3000 * 3), [2, 3000, 3]);
  await assert.rejects(client.encode(WORLD, large), { name: "InvalidRequest", reason: "too_large" });
  assert.ok(wm.DeadlineExceeded.prototype instanceof wm.WmserveError);
});

test("a call ends with its time, whether it or its client set it", async () => {
  const began = performance.now();
  await assert.rejects(client.plan(WORLD, start, goal, { planner: LONG, timeoutMs: 200 }), {
    name: "DeadlineExceeded",
  });
  const hurried = new wm.Client(URL_UNDER_TEST, { timeoutMs: 200 });
  await assert.rejects(hurried.plan(WORLD, start, goal, { planner: LONG }), wm.DeadlineExceeded);
  assert.ok(performance.now() - began < 1000);
});

test("a caller's signal ends a call with its own reason, before or after it began", async () => {
  const changed = new Error("another goal");
  await assert.rejects(client.plan(WORLD, start, goal, { signal: AbortSignal.abort(changed) }), changed);
  const caller = new AbortController();
  const plan = client.plan(WORLD, start, goal, { planner: LONG, signal: caller.signal });
  setTimeout(() => caller.abort(changed), 100);
  await assert.rejects(plan, changed);
});
