import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "./parse.ts";
import { describePromise, describeWarnings } from "./promise.ts";
import type { Config } from "./types.ts";

function configWith(group: string, head = ""): Config {
  const text = `${head}
cluster: c
sites:
  east: { peer: 127.0.0.1:1, api: 127.0.0.1:2, nbd: 10.0.0.1:3, data: /east }
  west: { peer: 127.0.0.1:4, api: 127.0.0.1:5, data: /west }
  vault: { peer: 127.0.0.1:6, api: 127.0.0.1:7, data: /vault }
groups:
  bank: { primary: east, volumes: { data: { size: 1MiB } }, ${group} }
`;
  const outcome = parseConfig({ path: "c.yaml", text, resolvePath: (path) => path });
  assert.ok(outcome.ok, JSON.stringify(outcome));
  return outcome.config;
}

function promiseOf(group: string): string {
  const bank = configWith(group, "insecure: true").groups.get("bank");
  assert.ok(bank !== undefined);
  return describePromise(bank);
}

test("a group's promise names the ack point, the RPO, and what a lost copy does, in one line", () => {
  const continued = promiseOf("copies: { west: { mode: sync } }");
  assert.match(
    continued,
    /^bank: acked when east and west have it .*RPO 0 while synchronized.*hosts go on without it/,
  );
  assert.ok(!continued.includes("\n"));
  assert.match(promiseOf("copies: { west: { mode: sync, onLoss: stall } }"), /host writes wait/);
  assert.match(
    promiseOf("copies: { west: { mode: sync, onLoss: fail, rpo: 5s } }"),
    /host writes fail.*objective 5s/,
  );
  assert.match(
    promiseOf("durability: write"),
    /acked by east alone \(on stable storage at each\); no copy/,
  );
});

test("A19: the promise of cycles says whether a host waits for the switch", () => {
  const late = promiseOf("copies: { west: { mode: cycle } }");
  assert.match(late, /acked when east has it .*, at the end of its cycle of 30ms; /);
  assert.match(late, /west follows in cycles of at most 30ms or 32MiB, RPO is its lag/);
  const early = promiseOf("copies: { west: { mode: cycle, ackAt: journal } }");
  assert.match(early, /cycles of at most 1s/);
  assert.doesNotMatch(early, /at the end of its cycle/);
});

test("what is allowed and dangerous is said", () => {
  const warnings = describeWarnings(
    configWith("copies: { west: { mode: sync } }", "insecure: true"),
  ).join("\n");
  assert.match(warnings, /exports on 10.0.0.1:3 to everybody/);
  assert.match(warnings, /can pose as a site/);
  assert.doesNotMatch(warnings, /preserve/);
  const off = "copies: { west: { mode: sync, preserve: { bytesMax: 0 } } }";
  assert.match(
    describeWarnings(configWith(off, "insecure: true")).join("\n"),
    /preserve\.bytesMax is 0, so during a resync west has no consistent image/,
  );
});

test("A19: hosts that would wait for the end of a long cycle are warned of", () => {
  const warned = (options: string): string =>
    describeWarnings(
      configWith(`copies: { west: { mode: cycle, ${options} } }`, "insecure: true"),
    ).join("\n");
  assert.match(
    warned("every: 20s"),
    /^group bank: every host write waits up to 20s .* ackAt: journal/m,
  );
  assert.doesNotMatch(warned("every: 20s, ackAt: journal"), /waits up to/);
  assert.doesNotMatch(warned("every: 1s"), /waits up to/);
});

test("U32: what a replay that begins by itself may cost is said where it is written", () => {
  const group = (vault: string): string =>
    `copies: { west: { mode: async }, vault: { mode: bunker, ${vault} } }`;
  const warned = (vault: string): string =>
    describeWarnings(configWith(group(vault), "insecure: true"))
      .filter((line) => line.includes("by itself"))
      .join("\n");
  assert.match(
    promiseOf(group("replay: auto")),
    /vault brings a copy up by itself .* 1min, at vault/,
  );
  assert.doesNotMatch(promiseOf(group("replay: manual")), /by itself/);
  assert.equal(warned("replay: manual"), "");
  assert.equal(warned("replay: auto, onLoss: fail"), "");
  assert.match(warned("replay: auto"), /goes on alone .*and is demoted when it is back/);
  assert.match(warned("replay: auto, replayAfter: 2s"), /less than the 3s in which/);
  assert.match(
    warned("replay: auto, replayAfter: 10s"),
    /merely started again finds its log taken/,
  );
});
