import assert from "node:assert/strict";
import { test } from "node:test";
import { good, problemsOf } from "../../test/support/cluster-text.ts";

// What is wrong with a cluster file is said with its line, its place and a hint.

test("all problems of a file come at once, in the order of its lines", () => {
  const text = good.replace("size: 1GiB", "size: 1GB").replace("primary: east", "primery: east");
  assert.deepEqual(problemsOf(text), [
    "13 groups.bank.primery: unknown key | did you mean primary?",
    '15 groups.bank.volumes.data.size: "1GB" has the unknown unit "GB" | did you mean 1GiB?',
  ]);
});

type Case = {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** What the only problem begins with. */
  readonly problem: string;
};

const cases: readonly Case[] = [
  // Shape
  {
    name: "unknown key at the top",
    from: "cluster:",
    to: "x: 1\ncluster:",
    problem: "1 x: unknown key | known here: cluster",
  },
  {
    name: "unknown key of a site",
    from: "peer: 127.0.0.1:7101",
    to: "peer: 127.0.0.1:7101\n    pear: 1",
    problem: "5 sites.east.pear: unknown key | did you mean peer?",
  },
  {
    name: "unknown key of a copy",
    from: "mode: sync",
    to: "mode: sync, onloss: fail",
    problem: "18 groups.bank.copies.west.onloss: unknown key | did you mean onLoss?",
  },
  {
    name: "unknown mode",
    from: "mode: sync",
    to: "mode: sink",
    problem:
      '18 groups.bank.copies.west.mode: "sink" does not fit here | expected sync, async, cycle or bunker',
  },
  {
    name: "missing key",
    from: ", api: 127.0.0.1:7202",
    to: "",
    problem: "9 sites.west.api: is missing",
  },
  {
    name: "empty value",
    from: "primary: east",
    to: "primary:",
    problem: "13 groups.bank.primary: is missing",
  },
  {
    name: "list for a map",
    from: "copies:\n      west: { mode: sync }",
    to: "copies: [west]",
    problem: '17 groups.bank.copies: ["west"] does not fit here | expected a map',
  },
  {
    name: "number for a map",
    from: "data: { size: 1GiB }",
    to: "data: 1GiB",
    problem: '15 groups.bank.volumes.data: "1GiB" does not fit here | expected a map',
  },
  // Units
  {
    name: "size without sense",
    from: "size: 1GiB",
    to: "size: big",
    problem: '15 groups.bank.volumes.data.size: "big" is not a size',
  },
  {
    name: "negative size",
    from: "size: 1GiB",
    to: "size: -5",
    problem: "15 groups.bank.volumes.data.size: -5 is not a whole number",
  },
  {
    name: "size of no type",
    from: "size: 1GiB",
    to: "size: true",
    problem: "15 groups.bank.volumes.data.size: true does not fit here | expected text or a number",
  },
  {
    name: "time without unit",
    from: "mode: sync",
    to: "mode: sync, timeout: 3",
    problem: "18 groups.bank.copies.west.timeout: 3 is not a time",
  },
  {
    name: "time in minutes",
    from: "mode: sync",
    to: "mode: sync, rpo: 5m",
    problem: '18 groups.bank.copies.west.rpo: "5m" has the unknown unit "m" | did you mean 5min?',
  },
  {
    name: "time beyond a day",
    from: "mode: sync",
    to: "mode: sync, ackTimeout: 25h",
    problem: '18 groups.bank.copies.west.ackTimeout: "25h" is too long | at most 24h fit',
  },
  // Names, references and numbers
  {
    name: "name with a slash",
    from: "  bank:",
    to: "  ba/nk:",
    problem: '12 groups.ba/nk: "ba/nk" cannot be a name',
  },
  {
    name: "name of a site's own file",
    from: "  bank:",
    to: "  lock:",
    problem: "12 groups.lock: a site keeps a file of its own",
  },
  {
    name: "key that objects own",
    from: "  bank:",
    to: "  __proto__:",
    problem: "12 : this cannot be a key",
  },
  {
    name: "unknown primary",
    from: "primary: east",
    to: "primary: eats",
    problem: '13 groups.bank.primary: there is no site "eats" | did you mean east?',
  },
  {
    name: "unknown copy",
    from: "west: { mode: sync }",
    to: "north: { mode: sync }",
    problem:
      '18 groups.bank.copies.north: there is no site "north" | sites of this file: east, west, vault',
  },
  {
    name: "copy to the primary",
    from: "west: { mode: sync }",
    to: "east: { mode: sync }",
    problem: "18 groups.bank.copies.east: east is the primary",
  },
  {
    name: "image at a stranger",
    from: "at: { east:",
    to: "at: { vault:",
    problem: "16 groups.bank.volumes.log.at.vault: site vault does not hold this group",
  },
  {
    name: "reach of an unknown site",
    from: "reach: { west:",
    to: "reach: { wets:",
    problem: '8 sites.east.reach.wets: there is no site "wets" | did you mean west?',
  },
  {
    name: "reach of itself",
    from: "reach: { west:",
    to: "reach: { east:",
    problem: "8 sites.east.reach.east: a site does not dial itself",
  },
  {
    name: "no volumes",
    from: "volumes:\n      data: { size: 1GiB }\n      log: { size: 256MiB, at: { east: /dev/vg0/banklog } }",
    to: "volumes: {}",
    problem: "14 groups.bank.volumes: is empty",
  },
  {
    name: "size that tears a sector",
    from: "size: 1GiB",
    to: "size: 1000",
    problem:
      "15 groups.bank.volumes.data.size: 1000 is no multiple of 512 bytes, a disk's unit | the next is 1024",
  },
  {
    name: "size beyond the limit",
    from: "size: 1GiB",
    to: "size: 17TiB",
    problem: "15 groups.bank.volumes.data.size: 17TiB is too large | at most 16TiB fit",
  },
  {
    name: "region between powers",
    from: "primary: east",
    to: "primary: east\n    region: 96KiB",
    problem:
      "14 groups.bank.region: 96KiB cannot be a region | use a power of two from 4KiB to 1MiB",
  },
  {
    name: "region too small",
    from: "primary: east",
    to: "primary: east\n    region: 2KiB",
    problem: "14 groups.bank.region: 2KiB cannot be a region",
  },
  {
    name: "region too large",
    from: "primary: east",
    to: "primary: east\n    region: 2MiB",
    problem: "14 groups.bank.region: 2MiB cannot be a region",
  },
  // Combinations
  {
    name: "option of another mode",
    from: "mode: sync",
    to: "mode: sync, staging: memory",
    problem:
      "18 groups.bank.copies.west.staging: staging belongs to mode async, and this copy is sync",
  },
  {
    name: "loss policy of a bunker",
    from: "mode: sync",
    to: "mode: sync, onLoss: override",
    problem: "18 groups.bank.copies.west.onLoss: a sync copy knows no onLoss: override",
  },
  {
    name: "timeout within a probe",
    from: "mode: sync",
    to: "mode: sync, probe: 2s",
    problem: "18 groups.bank.copies.west.probe: a silence of 3s is not told from one late probe",
  },
  {
    name: "probe without pause",
    from: "mode: sync",
    to: "mode: sync, probe: 1ms",
    problem: "18 groups.bank.copies.west.probe: a probe each 1ms",
  },
  {
    name: "rate of a trickle",
    from: "mode: sync",
    to: "mode: sync, rate: 100",
    problem: "18 groups.bank.copies.west.rate: 100 bytes per second",
  },
  // Addresses and paths
  {
    name: "no address",
    from: "peer: 127.0.0.1:7101",
    to: "peer: east",
    problem: '4 sites.east.peer: "east" is not an address',
  },
  {
    name: "port out of range",
    from: "127.0.0.1:7101",
    to: "127.0.0.1:70000",
    problem: "4 sites.east.peer: port 70000 is not between",
  },
  {
    name: "same port twice at a site",
    from: "nbd: 127.0.0.1:10809",
    to: "nbd: [127.0.0.1:10809, 127.0.0.1:7201]",
    problem: "6 sites.east.nbd.1: the address is taken by sites.east.api",
  },
  {
    name: "same port at two sites",
    from: "127.0.0.1:7102",
    to: "localhost:7101",
    problem: "9 sites.west.peer: the address is taken by sites.east.peer",
  },
  {
    name: "one socket for two things",
    from: "nbd: 127.0.0.1:10809",
    to: 'nbd: "unix:./vault.sock"',
    problem: "10 sites.vault.api: the address is taken by sites.east.nbd.0",
  },
  {
    name: "socket with a long path",
    from: "unix:./vault.sock",
    to: `unix:./${"x".repeat(110)}`,
    problem: "10 sites.vault.api: the socket's path",
  },
  {
    name: "peer open to strangers",
    from: "127.0.0.1:7102",
    to: "10.0.0.2:7102",
    problem: "9 sites.west.peer: the address is not on loopback and the sites share no secret",
  },
  {
    name: "NBD open to strangers",
    from: "nbd: 127.0.0.1:10809",
    to: "nbd: 10.0.0.1:10809",
    problem: "6 sites.east.nbd.0: the address is not on loopback",
  },
  {
    name: "name that may be anybody",
    from: "127.0.0.1:7102",
    to: "west.example.com:7102",
    problem: "9 sites.west.peer: the address is not on loopback",
  },
  {
    name: "API open to strangers",
    from: "api: 127.0.0.1:7202",
    to: "api: 0.0.0.0:7202",
    problem: "9 sites.west.api: the API has no tokens yet",
  },
  {
    name: "one folder for two sites",
    from: "data: ./west",
    to: "data: ./east/",
    problem: "9 sites.west.data: site east on the same machine",
  },
  {
    name: "folder within another's",
    from: "data: ./west",
    to: "data: ./east/bank",
    problem: "9 sites.west.data: site east on the same machine",
  },
  {
    name: "two volumes in one image",
    from: "log: { size: 256MiB, at: { east: /dev/vg0/banklog } }",
    to: "log: { size: 256MiB, at: { west: ./west/bank/data.img } }",
    problem:
      "16 groups.bank.volumes.log.at.west: /etc/antipode/west/bank/data.img is already the image of bank/data",
  },
  {
    name: "a journal that is too small",
    from: "    primary: east",
    to: "    primary: east\n    journal: { size: 8MiB }",
    problem: "14 groups.bank.journal.size: a journal of 8MiB cannot be kept | 16MiB to 16TiB fit",
  },
  {
    name: "the primary as a relay",
    from: "mode: sync",
    to: "mode: cycle, through: east",
    problem:
      "18 groups.bank.copies.west.through: east is the primary, which feeds copies without a relay | name a site",
  },
  {
    name: "a relay that holds the volumes",
    from: "mode: sync",
    to: "mode: cycle, through: west",
    problem: "18 groups.bank.copies.west.through: west holds the volumes, and a relay holds none",
  },
  {
    name: "a relay that is no site",
    from: "mode: sync",
    to: "mode: cycle, through: gate",
    problem: '18 groups.bank.copies.west.through: there is no site "gate"',
  },
  {
    name: "a relay of a mirror",
    from: "mode: sync",
    to: "mode: sync, through: vault",
    problem: "18 groups.bank.copies.west.through: through belongs to mode cycle",
  },
  // Replays that begin by themselves
  {
    name: "a copy with volumes that replays",
    from: "mode: sync",
    to: "mode: async, replay: auto",
    problem:
      "18 groups.bank.copies.west.replay: replay belongs to mode bunker, and this copy is async",
  },
  {
    name: "a time for what nobody begins",
    from: "west: { mode: sync }",
    to: "west: { mode: async }\n      vault: { mode: bunker, replayAfter: 1min }",
    problem:
      "19 groups.bank.copies.vault.replayAfter: replayAfter belongs to replay: auto | write replay: auto, or leave it out",
  },
  {
    name: "a replay after a moment",
    from: "west: { mode: sync }",
    to: "west: { mode: async }\n      vault: { mode: bunker, replay: auto, replayAfter: 10ms }",
    problem:
      "19 groups.bank.copies.vault.replayAfter: a silence of 10ms is no loss of the primary | give it 1s or more",
  },
  {
    name: "a log on a path that replays",
    from: "primary: east",
    to: "primary: east\n    journal: { mirror: ./log, replay: auto }",
    problem:
      "14 groups.bank.journal.replay: a log on a path has no process that could hear whether the primary lives",
  },
  // Later versions
  {
    name: "cycle that is too short",
    from: "mode: sync",
    to: "mode: cycle, every: 1ms",
    problem: "18 groups.bank.copies.west.every: a cycle of 1ms cannot be kept | 5ms to 1min fit",
  },
  {
    name: "sets that end before anything is in them",
    from: "mode: sync",
    to: "mode: async, seal: { every: 0ms }",
    problem:
      "18 groups.bank.copies.west.seal.every: a set of nothing would never be sent | give it 1ms or more",
  },
  {
    name: "sets that hold nothing",
    from: "mode: sync",
    to: "mode: async, seal: { bytes: 0 }",
    problem:
      "18 groups.bank.copies.west.seal.bytes: a set of nothing would never be sent | give it 1 or more",
  },
  {
    name: "bunker without a copy that it serves",
    from: "mode: sync",
    to: "mode: bunker",
    problem:
      "18 groups.bank.copies.west: a bunker keeps the log for copies that are fed from it, and this group has none",
  },
  {
    name: "second log without a copy that it serves",
    from: "primary: east",
    to: "primary: east\n    journal: { size: 1GiB, mirror: ./log }",
    problem:
      "14 groups.bank.journal.mirror: a second log is kept for copies that are fed from the journal, and this group has none",
  },
  {
    name: "iSCSI",
    from: "mode: sync",
    to: "mode: sync, transport: iscsi",
    problem: "18 groups.bank.copies.west.transport: transport iscsi is not in this version",
  },
  {
    name: "Fibre Channel",
    from: "mode: sync",
    to: "mode: sync, transport: fc",
    problem: "18 groups.bank.copies.west.transport: transport fc is not in this version",
  },
  {
    name: "device without a journal in front of it",
    from: "/dev/vg0/banklog",
    to: "nbd://127.0.0.1:1/x",
    problem:
      "16 groups.bank.volumes.log.at.east: a volume on an NBD server needs the journal in front of it",
  },
  {
    name: "device by a transport that there is not",
    from: "/dev/vg0/banklog",
    to: "nbds://127.0.0.1:1/x",
    problem: "16 groups.bank.volumes.log.at.east: nbds://127.0.0.1:1/x asks for a transport",
  },
  {
    name: "device on no socket",
    from: "/dev/vg0/banklog",
    to: "nbd+unix:///x",
    problem: '16 groups.bank.volumes.log.at.east: "unix:" names no socket',
  },
  {
    name: "trust in a file",
    from: "at: { east: /dev/vg0/banklog }",
    to: "at: { east: /dev/vg0/banklog }, trustDevice: true",
    problem: "16 groups.bank.volumes.log.trustDevice: trustDevice belongs to a volume on an NBD",
  },
  // YAML
  { name: "broken YAML", from: "groups:", to: "groups: [", problem: "13 : this is not YAML" },
  {
    name: "key given twice",
    from: "    primary: east",
    to: "    primary: east\n    primary: west",
    problem: "14 : this is not YAML",
  },
  {
    name: "alias",
    from: "primary: east",
    to: "primary: &p east\n    hooks: { onPromote: *p }",
    problem: "14 : aliases are not taken",
  },
];

for (const { name, from, to, problem } of cases) {
  test(`a cluster file is refused with line and hint: ${name}`, () => {
    assert.ok(good.includes(from));
    const problems = problemsOf(good.replace(from, to));
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.equal(problems[0]?.slice(0, problem.length), problem);
    assert.ok(!problems[0]?.endsWith("| "), "every problem has a hint");
  });
}

test("what stands alone is refused, too: no text, no map, too much text", () => {
  assert.match(problemsOf("")[0] ?? "", /^1 : the file is empty/);
  assert.match(problemsOf("just words")[0] ?? "", /^1 : the file is no map/);
  assert.match(problemsOf("#".repeat(2 ** 21))[0] ?? "", /^1 : is larger than/);
});
