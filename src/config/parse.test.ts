import assert from "node:assert/strict";
import { test } from "node:test";
import { good, parse, problemsOf } from "../../test/support/cluster-text.ts";

// What a cluster file comes to.

test("a cluster file becomes absolute paths, bytes, milliseconds and defaults", () => {
  const outcome = parse(good);
  assert.ok(outcome.ok);
  const { config } = outcome;
  assert.equal(config.cluster, "example");
  assert.equal(config.insecure, false);
  assert.deepEqual(config.sites.get("east"), {
    name: "east",
    peer: "127.0.0.1:7101",
    api: "127.0.0.1:7201",
    nbd: ["127.0.0.1:10809"],
    data: "/etc/antipode/east",
    reach: new Map([["west", "127.0.0.1:9001"]]),
  });
  assert.deepEqual(config.sites.get("west")?.nbd, []);
  assert.equal(config.sites.get("vault")?.api, "unix:/etc/antipode/vault.sock");
  const bank = config.groups.get("bank");
  assert.deepEqual(bank?.volumes, [
    { name: "data", bytes: 2 ** 30, at: new Map() },
    { name: "log", bytes: 2 ** 28, at: new Map([["east", "/dev/vg0/banklog"]]) },
  ]);
  assert.equal(bank?.durability, "flush");
  assert.equal(bank?.regionBytes, 65_536);
  assert.deepEqual(bank?.copies.get("west"), {
    site: "west",
    mode: "sync",
    onLoss: "continue",
    ackTimeoutMs: 10_000,
    resume: "auto",
    preserveBytesMax: undefined,
    rpoMs: undefined,
    probeMs: 500,
    timeoutMs: 3_000,
    rateBytesPerSecond: undefined,
    ...asyncDefaults,
  });
});

const asyncDefaults = {
  seal: { everyMs: 50, bytesMax: 4 * 2 ** 20, onFlush: true },
  staging: "durable",
  connections: 4,
  ackAt: undefined,
  compress: undefined,
};

test("every option of a sync copy is read in its unit", () => {
  const options =
    "mode: sync, onLoss: stall, ackTimeout: 2s, resume: manual, preserve: { bytesMax: 1GiB }, " +
    "rpo: 1min, probe: 100ms, timeout: 1s, rate: 10MiB/s, transport: tcp";
  const outcome = parse(good.replace("mode: sync", options));
  assert.ok(outcome.ok, JSON.stringify(outcome));
  assert.deepEqual(outcome.config.groups.get("bank")?.copies.get("west"), {
    site: "west",
    mode: "sync",
    onLoss: "stall",
    ackTimeoutMs: 2_000,
    resume: "manual",
    preserveBytesMax: 2 ** 30,
    rpoMs: 60_000,
    probeMs: 100,
    timeoutMs: 1_000,
    rateBytesPerSecond: 10 * 2 ** 20,
    ...asyncDefaults,
  });
});

test("every option of an async copy is read in its unit, and the journal's", () => {
  const options =
    "mode: async, seal: { every: 200ms, bytes: 1MiB, onFlush: only }, staging: memory, connections: 2, compress: on, rpo: 10s";
  const text = good
    .replace("mode: sync", options)
    .replace(
      "    primary: east",
      "    primary: east\n    journal: { size: 2GiB, overflow: stall }",
    );
  const outcome = parse(text);
  assert.ok(outcome.ok, JSON.stringify(outcome));
  const bank = outcome.config.groups.get("bank");
  assert.deepEqual(bank?.journal, { bytesMax: 2 ** 31, overflow: "stall" });
  const west = bank?.copies.get("west");
  assert.deepEqual(
    [west?.mode, west?.seal, west?.staging, west?.connections, west?.compress],
    ["async", { everyMs: 200, bytesMax: 2 ** 20, onFlush: "only" }, "memory", 2, "on"],
  );
});

test("B13: a second log of the journal is a member like a bunker, on a path that counts from the file", () => {
  const withLog = (path: string): string =>
    good
      .replace("mode: sync", "mode: async")
      .replace("    primary: east", `    primary: east\n    journal: { mirror: ${path} }`);
  const outcome = parse(withLog("./log"));
  assert.ok(outcome.ok, JSON.stringify(outcome));
  const bank = outcome.config.groups.get("bank");
  assert.equal(bank?.bunkerPath, "/etc/antipode/log");
  const log = bank?.copies.get("mirror:bank");
  assert.deepEqual([log?.mode, log?.onLoss], ["bunker", "override"]);
  assert.deepEqual([...(bank?.copies.keys() ?? [])], ["west", "mirror:bank"]);
  assert.match(
    problemsOf(withLog("./west/log"))[0] ?? "",
    /^14 groups.bank.journal.mirror: site west keeps its data in/,
  );
});

test("U32: a bunker brings nothing up by itself unless it is told to, and then after a minute or as long as is written", () => {
  const after = (vault: string): number | undefined => {
    const copies = `west: { mode: async }\n      vault: { mode: bunker${vault} }`;
    const outcome = parse(good.replace("west: { mode: sync }", copies));
    assert.ok(outcome.ok, JSON.stringify(outcome));
    return outcome.config.groups.get("bank")?.copies.get("vault")?.replayAfterMs;
  };
  assert.equal(after(""), undefined);
  assert.equal(after(", replay: manual"), undefined);
  assert.equal(after(", replay: auto"), 60_000);
  assert.equal(after(", replay: auto, replayAfter: 5min"), 300_000);
  const both = good
    .replace(
      "west: { mode: sync }",
      "west: { mode: async }\n      vault: { mode: bunker, replay: auto }",
    )
    .replace("    primary: east", "    primary: east\n    journal: { mirror: ./log }");
  assert.match(problemsOf(both)[0] ?? "", /copies.vault.replay: of two logs the longer one/);
});

test("addresses beyond loopback are taken with a secret or with insecure: true, those of the API never", () => {
  const open = good.replace("127.0.0.1:7102", "10.0.0.2:7102");
  assert.equal(problemsOf(open).length, 1);
  assert.deepEqual(problemsOf(`secret: ./key\n${open}`), []);
  assert.deepEqual(problemsOf(`insecure: true\n${open}`), []);
  const openApi = good.replace("api: 127.0.0.1:7202", "api: 10.0.0.2:7202");
  for (const head of ["secret: ./key", "insecure: true"]) {
    assert.match(
      problemsOf(`${head}\n${openApi}`).join("\n"),
      /^10 sites.west.api: the API has no tokens yet/,
    );
  }
});

test("sites on different machines may use the same loopback ports and folders", () => {
  const text = good
    .replace("127.0.0.1:7101", "10.0.0.1:7101")
    .replace(
      "{ peer: 127.0.0.1:7102, api: 127.0.0.1:7202, data: ./west }",
      "{ peer: 10.0.0.2:7101, api: 127.0.0.1:7201, nbd: 127.0.0.1:10809, data: ./east }",
    );
  assert.deepEqual(problemsOf(`secret: ./key\n${text}`), []);
});

test("a peer address for every interface is taken once the others know what to dial", () => {
  const wildcard = `secret: ./key\n${good.replace("peer: 127.0.0.1:7102", "peer: 0.0.0.0:7102")}`;
  assert.match(problemsOf(wildcard).join("\n"), /^10 sites.west.peer: site vault cannot dial/);
  const reached = wildcard.replace(
    "data: ./vault }",
    "data: ./vault, reach: { west: 10.0.0.2:7102 } }",
  );
  assert.deepEqual(problemsOf(reached), []);
});

test("the secret's path counts from the file, and the secret itself stays unread", () => {
  const outcome = parse(`secret: ./antipode.secret\n${good}`);
  assert.ok(outcome.ok);
  assert.equal(outcome.config.secretPath, "/etc/antipode/antipode.secret");
  assert.equal(outcome.config.secret, undefined);
});
