/** The server that these tests talk to, and what they show it. */

import { readFile } from "node:fs/promises";
import { Client } from "wmserve";

export const URL_UNDER_TEST = process.env["WMSERVE_URL"] ?? "http://localhost:8080";
export const WORLD = "two_room";
export const QUICK = { candidate_count: 32, iterations: 2, elite_count: 8, seed: 1 };
export const LONG = { candidate_count: 500, iterations: 40, horizon: 10, elite_count: 50 };

const DOCS = new URL("../../../../docs/", import.meta.url);

export const start = await readFile(new URL("start.png", DOCS));
export const goal = await readFile(new URL("goal.png", DOCS));
export const client = new Client(URL_UNDER_TEST);
