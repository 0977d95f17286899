import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Config, CopyConfig, GroupConfig } from "#config/types.ts";
import type { Crypto } from "#ports/crypto.ts";
import { describeChanges, refusalsOf } from "./reload-plan.ts";
import { decodeSettings, digestOf, encodeSettings } from "./settings.ts";

// What a reload says and refuses, and the settings that sites tell each other: pure functions of two configurations.

const optional = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });

/** Few values of each option, so that two configurations often agree. */
const copy = (site: string): fc.Arbitrary<CopyConfig> =>
  fc.tuple(terms(site), way).map(([known, more]) => ({ ...known, ...more }));

/** Fed through a relay, or there for no other reason than to be one. */
const way = fc.constantFrom<Pick<CopyConfig, "through" | "isRelay">>(
  {},
  { through: "gate" },
  { isRelay: true },
);

const terms = (site: string): fc.Arbitrary<CopyConfig> =>
  fc.record({
    site: fc.constant(site),
    mode: fc.constantFrom("sync", "async"),
    onLoss: fc.constantFrom("continue", "stall", "fail"),
    ackTimeoutMs: fc.constantFrom(5_000, 10_000),
    resume: fc.constantFrom("auto", "manual"),
    preserveBytesMax: optional,
    rpoMs: optional,
    probeMs: fc.constantFrom(100, 500),
    timeoutMs: fc.constantFrom(1_000, 3_000),
    seal: fc.record({
      everyMs: fc.constantFrom(50, 100),
      bytesMax: fc.constantFrom(4096, 8192),
      onFlush: fc.constantFrom(true, false, "only" as const),
    }),
    staging: fc.constantFrom("durable", "memory"),
    connections: fc.constantFrom(1, 4),
    ackAt: fc.constantFrom(undefined, "switch", "journal"),
    compress: fc.constantFrom(undefined, "on", "auto"),
    rateBytesPerSecond: optional,
  });

const group: fc.Arbitrary<GroupConfig> = fc.record({
  name: fc.constant("bank"),
  primary: fc.constant("east"),
  volumes: fc.constant([{ name: "data", bytes: 1 << 20, at: new Map<string, string>() }]),
  copies: fc
    .tuple(copy("west"), fc.option(copy("north"), { nil: undefined }), fc.boolean())
    .map(([west, north, isTurned]) => {
      const copies = north === undefined ? [west] : isTurned ? [north, west] : [west, north];
      return new Map(copies.map((one) => [one.site, one]));
    }),
  durability: fc.constantFrom("flush", "write"),
  regionBytes: fc.constant(65_536),
  journal: fc.record({
    bytesMax: fc.constantFrom(1 << 28, 1 << 30),
    overflow: fc.constantFrom("trip", "stall", "fail"),
  }),
  hooks: fc.constant({}),
});

const facts = () => ({ behindWrites: 0, openBytes: 0, volumeBytes: 0, isFed: true });

/** A hash for tests: equal bytes, equal text. */
const crypto: Crypto = {
  randomBytes: (count) => new Uint8Array(count),
  hmacSha256: () => new Uint8Array(32),
  hash64(bytes) {
    let hash = 0n;
    for (const byte of bytes) hash = (hash * 1_000_003n + BigInt(byte)) & 0xffff_ffff_ffff_ffffn;
    return hash;
  },
};

test("a plan has no line exactly where two configurations have one digest", () => {
  fc.assert(
    fc.property(group, group, (before, after) => {
      const isSame = digestOf(before, crypto) === digestOf(after, crypto);
      assert.equal(describeChanges(before, after, facts).length === 0, isSame);
      assert.deepEqual(describeChanges(before, before, facts), []);
    }),
    { numRuns: 500 },
  );
});

test("A19: an option that is changed alone has its line: ackAt", () => {
  const [before] = fc.sample(group, 1);
  assert.ok(before !== undefined);
  const west = { ...fc.sample(copy("west"), 1)[0], mode: "cycle" } as CopyConfig;
  const withAck = (ackAt: CopyConfig["ackAt"]): GroupConfig => ({
    ...before,
    copies: new Map([["west", { ...west, ackAt }]]),
  });
  const lines = describeChanges(withAck("switch"), withAck("journal"), facts);
  assert.deepEqual(lines, ["west: ackAt switch -> journal"]);
});

test("I25: a plan says that stall holds behind a relay only for what the journal still has", () => {
  const [before] = fc.sample(group, 1);
  assert.ok(before !== undefined);
  const west = { ...fc.sample(copy("west"), 1)[0], mode: "cycle" } as CopyConfig;
  const withOverflow = (
    overflow: "trip" | "stall" | "fail",
    through: string | undefined,
  ): GroupConfig => {
    const { through: _, ...direct } = west;
    const one = through === undefined ? direct : { ...direct, through };
    return {
      ...before,
      copies: new Map([["west", one]]),
      journal: { ...before.journal, overflow },
    };
  };
  const linesOf = (from: "trip" | "fail", through: string | undefined): string[] =>
    describeChanges(withOverflow(from, through), withOverflow("stall", through), facts);
  const still = "; of what its relay alone has now, a full log still trips a copy: west (gate)";
  assert.deepEqual(linesOf("trip", "gate"), [`journal: overflow trip -> stall${still}`]);
  assert.deepEqual(linesOf("trip", undefined), ["journal: overflow trip -> stall"]);
  assert.deepEqual(linesOf("fail", "gate"), ["journal: overflow fail -> stall"]);
});

test("settings are told as text and taken for the same again; anything else is taken for none", () => {
  fc.assert(
    fc.property(group, fc.nat(), fc.string({ maxLength: 3 }), (config, at, noise) => {
      const text = encodeSettings(config);
      const told = decodeSettings(text) ?? assert.fail();
      assert.equal(digestOf(told, crypto), digestOf(config, crypto));
      assert.deepEqual([...told.copies.keys()], [...config.copies.keys()]);
      const place = at % text.length;
      // Damage is taken for nothing, or for settings that are whole: never for half of them.
      const damaged = decodeSettings(text.slice(0, place) + noise + text.slice(place + 1));
      if (damaged !== undefined) assert.ok(encodeSettings(damaged).length > 0);
    }),
    { numRuns: 500 },
  );
  for (const wrong of ["", "7", "{}", '{"journal":{},"copies":[]}', '{"copies":[{}]}'])
    assert.equal(decodeSettings(wrong), undefined);
});

function clusterOf(bank: GroupConfig, changes: Partial<Config> = {}): Config {
  const site = (name: string) => ({
    name,
    peer: `${name}:7101`,
    api: `${name}:7201`,
    nbd: [],
    data: `/data/${name}`,
    reach: new Map<string, string>(),
  });
  const sites = new Map(["east", "west", "north"].map((name) => [name, site(name)]));
  const groups = new Map([["bank", bank]]);
  return { path: "f", cluster: "c", sites, groups, secret: undefined, insecure: false, ...changes };
}

test("what cannot change while a group runs is refused at its place, each with what helps", () => {
  const [bank] = fc.sample(group, { numRuns: 1, seed: 1 });
  assert.ok(bank !== undefined);
  const volume = bank.volumes[0] ?? assert.fail();
  const running = { config: clusterOf(bank), group: bank, site: "east" };
  const moved = clusterOf(bank);
  const sites = new Map(moved.sites);
  sites.set("east", { ...(sites.get("east") ?? assert.fail()), data: "/elsewhere" });
  const cases: readonly (readonly [string, Config])[] = [
    ["cluster", clusterOf(bank, { cluster: "other" })],
    ["secret", clusterOf(bank, { secretPath: "/s" })],
    ["sites.east.data", { ...moved, sites }],
    [
      "groups.bank.primary",
      clusterOf({
        ...bank,
        primary: "west",
        copies: new Map([["east", [...bank.copies.values()][0] ?? assert.fail()]]),
      }),
    ],
    ["groups.bank.region", clusterOf({ ...bank, regionBytes: 4096 })],
    ["groups.bank.volumes", clusterOf({ ...bank, volumes: [volume, { ...volume, name: "log" }] })],
    [
      "groups.bank.volumes.data.size",
      clusterOf({ ...bank, volumes: [{ ...volume, bytes: 2 << 20 }] }),
    ],
    [
      "groups.bank.volumes.data.at",
      clusterOf({ ...bank, volumes: [{ ...volume, at: new Map([["east", "/x"]]) }] }),
    ],
    ["groups", clusterOf(bank, { groups: new Map() })],
  ];
  for (const [place, wanted] of cases) {
    const found = refusalsOf(running, wanted);
    assert.deepEqual(
      found.map((one) => one.place.join(".")),
      [place],
    );
    assert.ok(found.every(({ hint }) => hint !== undefined && hint !== ""));
  }
  assert.deepEqual(refusalsOf(running, clusterOf(bank)), []);
  // Another site's own places are none of ours.
  const others = new Map(moved.sites);
  others.set("west", { ...(others.get("west") ?? assert.fail()), data: "/elsewhere", peer: "w:1" });
  assert.deepEqual(refusalsOf(running, { ...moved, sites: others }), []);
});
