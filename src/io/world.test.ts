import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Config } from "#config/types.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { readBootId } from "./boot-id.ts";
import { createClock } from "./clock.ts";
import { loadCrypto } from "./crypto.ts";
import { ReceivedMemory } from "./received-memory.ts";
import { createSitePorts } from "./site-ports.ts";

test("timers run once or often, never early, and not after they are cancelled", async () => {
  const clock = createClock();
  const log: string[] = [];
  const startMs = clock.nowMs();
  let isEarly = false;
  clock.after(3.4, () => {
    isEarly = clock.nowMs() < startMs + 3.4;
    log.push("after");
  });
  const ticks = clock.every(1, () => log.push("tick"));
  clock.after(0, () => log.push("cancelled")).cancel();
  clock.soon(() => log.push("soon"));
  assert.equal(log.length, 0);
  await settle(() => log.includes("after") && log.filter((entry) => entry === "tick").length > 2);
  ticks.cancel();
  assert.equal(isEarly, false);
  assert.equal(log[0], "soon");
  assert.equal(log.includes("cancelled"), false);
  assert.equal(log.filter((entry) => entry === "after").length, 1);
});

test("hashes give the published values", async () => {
  const crypto = await loadCrypto();
  // RFC 4231, test case 1.
  const key = new Uint8Array(20).fill(0x0b);
  assert.equal(
    Buffer.from(crypto.hmacSha256(key, Buffer.from("Hi There"))).toString("hex"),
    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
  );
  // XXH64 of nothing with seed 0, from the algorithm's own description.
  assert.equal(crypto.hash64(new Uint8Array(0)), 0xef46db3751d8e999n);
  const view = new Uint8Array(100).fill(1, 10, 20).subarray(10, 20);
  assert.equal(crypto.hash64(view), crypto.hash64(new Uint8Array(10).fill(1)));
  assert.equal(crypto.randomBytes(32).length, 32);
  assert.notDeepEqual(crypto.randomBytes(32), crypto.randomBytes(32));
});

test("the boot id is Linux's, and empty where there is none", () => {
  assert.match(readBootId(), /^[0-9a-f-]{36}$/);
  assert.equal(readBootId("/nonexistent"), "");
});

test("a site's folders and images lie where the cluster file says", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const elsewhere = join(temp, "vg0", "log.img");
  const ports = await createSitePorts({
    config: configOf(join(temp, "east"), elsewhere),
    site: "east",
    events: { emit: () => {} },
    trace: undefined,
    memory: new ReceivedMemory(),
  });
  const folder = ports.openFolder("bank");
  assert.ok(!("code" in folder));
  assert.equal(folder.path, join(temp, "east", "bank"));
  for (const [volume, path] of [
    ["data", join(temp, "east", "bank", "data.img")],
    ["log", elsewhere],
  ] as const) {
    const image = ports.openImage("bank", volume, { bytes: 1 << 20, isOnRecord: false });
    if ("code" in image) assert.fail(image.message);
    assert.equal(fs.statSync(path).size, 1 << 20);
    image.close();
  }
});

function configOf(data: string, logPath: string): Config {
  const site = { name: "east", peer: "", api: "", nbd: [], data, reach: new Map() };
  const group = {
    name: "bank",
    primary: "east",
    volumes: [
      { name: "data", bytes: 1 << 20, at: new Map() },
      { name: "log", bytes: 1 << 20, at: new Map([["east", logPath]]) },
    ],
    copies: new Map(),
    durability: "flush" as const,
    regionBytes: 65_536,
    journal: { bytesMax: 1 << 30, overflow: "trip" as const },
    hooks: {},
  };
  return {
    path: "antipode.yaml",
    cluster: "test",
    sites: new Map([["east", site]]),
    groups: new Map([["bank", group]]),
    secret: undefined,
    insecure: false,
  };
}
