/**
 * Asks a server for a plan from one picture to another, and what it expects of it.
 *
 *     npm run example     # of http://localhost:8080, or WMSERVE_URL; `make serve` starts one
 */

import { readFile } from "node:fs/promises";
import { Client, WmserveError } from "wmserve";

const docs = new URL("../../../../docs/", import.meta.url);
const [start, goal] = await Promise.all(["start.png", "goal.png"].map((name) => readFile(new URL(name, docs))));
const client = new Client(process.env["WMSERVE_URL"], { timeoutMs: 10_000 });

try {
  const world = await client.world("two_room");
  const plan = await client.plan(world.name, start!, goal!, { planner: { seed: 1 } });
  if (plan.status === "refused") {
    console.log(`not to be executed: ${plan.reasons.join(", ")}`);
  } else {
    console.log("first action:", plan.actions.at(0).toList());
    console.log("trusted for", plan.trusted_horizon, "of", plan.readouts.shape[0], "model steps");
  }
  const last = plan.readouts.at(-1);
  world.readouts.forEach(({ name, unit }, index) => console.log(`expected ${name}:`, last.data[index], unit));
} catch (error) {
  if (!(error instanceof WmserveError)) throw error;
  console.error(`${error.name} (${error.reason}): ${error.message}`);
  process.exitCode = 1;
}
