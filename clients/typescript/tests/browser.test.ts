/** The client as pages have it: bundled for browsers, run in a window, held to CORS. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { build } from "esbuild";
import { Window } from "happy-dom";
import { QUICK, start, URL_UNDER_TEST, WORLD } from "./server.js";

/** Fails where the client needs what browsers have not. */
const bundle = build({
  stdin: { contents: 'export * from "wmserve"', resolveDir: "." },
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "wmserve",
  platform: "browser",
  write: false,
});

/** What a page of this origin gets for a script. */
async function page(origin: string, script: string): Promise<unknown> {
  const window = new Window({
    url: origin,
    settings: { enableJavaScriptEvaluation: true, suppressInsecureJavaScriptEnvironmentWarning: true },
  });
  try {
    const [file] = (await bundle).outputFiles;
    window.eval(file?.text ?? "");
    return await window.eval(script);
  } finally {
    await window.happyDOM.close();
  }
}

const PLAN = `(async () => {
  const client = new wmserve.Client("${URL_UNDER_TEST}", { maxRetries: 0 });
  const plan = await client.plan("${WORLD}", "${start.toString("base64")}", { agent_x: 100 }, { planner: ${JSON.stringify(QUICK)} });
  const missing = await client.world("mars").catch((error) => error);
  return JSON.stringify({ status: plan.status, steps: plan.readouts.shape[0], missing: missing.reason });
})()`;

test("the bundle is small", async () => {
  const [file] = (await bundle).outputFiles;
  assert.ok((file?.contents.length ?? Infinity) < 16_000, `${file?.contents.length} bytes`);
});

test("a page of an allowed origin plans", async () => {
  const answer = JSON.parse(String(await page("http://robots.test/", PLAN)));
  assert.match(answer.status, /ok|refused/);
  assert.equal(answer.missing, "world_not_found");
});

test("a page of another origin gets no answer", async () => {
  await assert.rejects(page("http://elsewhere.test/", PLAN), { name: "Unavailable" });
});
