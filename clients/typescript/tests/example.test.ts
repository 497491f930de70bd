/** The example runs as it stands. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "node:test";
import { URL_UNDER_TEST } from "./server.js";

const EXAMPLE = fileURLToPath(new URL("../examples/plan.js", import.meta.url));
const run = (url: string) => promisify(execFile)(process.execPath, [EXAMPLE], { env: { WMSERVE_URL: url } });

test("the example plans", async () => {
  const { stdout } = await run(URL_UNDER_TEST);
  assert.match(
    stdout,
    /first action: \[ -?[\d.]+, -?[\d.]+ \]\ntrusted for \d+ of \d+ model steps\nexpected agent_x: \d/,
  );
});

test("without a server it says so, and fails", async () => {
  await assert.rejects(run("http://localhost:1"), { code: 1, stderr: /^Unavailable \(unavailable\)/ });
});
