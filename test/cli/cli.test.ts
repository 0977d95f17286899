import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { CliProcess } from "../support/cli-process.ts";
import { runCli, startCli } from "../support/cli-process.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";

// The antipode command as a user types it, each time a process of its own, against two sites that run in processes,
// too. The engine is the stand-in of fake-site.ts.

const text = `cluster: c
sites:
  east: { peer: "unix:./east.peer", api: "unix:./east.api", nbd: ["unix:./a.nbd", "unix:./b.nbd"], data: ./east }
  west: { peer: "unix:./west.peer", api: "unix:./west.api", data: ./west }
groups:
  bank: { primary: east, volumes: { data: { size: 1MiB } }, copies: { west: { mode: sync } } }
  lone: { primary: east, volumes: { data: { size: 1MiB } } }
`;

let folder: string;
let east: CliProcess;
let west: CliProcess;
before(async () => {
  folder = makeTempFolder();
  fs.writeFileSync(join(folder, "antipode.yaml"), text);
  east = startCli(folder, ["serve", "--site", "east", "--trace", "trace.jsonl"]);
  west = startCli(folder, ["serve", "--site", "west"]);
  await Promise.all([east.line(/^ready /), west.line(/^ready /)]);
});
after(async () => {
  for (const { child } of [east, west]) child.kill("SIGKILL");
  await Promise.all([east.ended, west.ended]);
  removeTempFolder(folder);
});

test("serve prints the ready line that scripts wait for", async () => {
  const at = (name: string): string => `unix:${join(folder, name)}`;
  assert.equal(
    await east.line(/^ready /),
    `ready site=east nbd=${at("a.nbd")},${at("b.nbd")} api=${at("east.api")} peer=${at("east.peer")}`,
  );
  assert.equal(
    await west.line(/^ready /),
    `ready site=west nbd=none api=${at("west.api")} peer=${at("west.peer")}`,
  );
});

test("serve --trace writes one JSON line per message, stamped with monotonic milliseconds", () => {
  const [line = ""] = fs.readFileSync(join(folder, "trace.jsonl"), "utf8").split("\n");
  const { t, ...rest } = JSON.parse(line) as Record<string, unknown>;
  assert.equal(typeof t, "number");
  assert.deepEqual(rest, { dir: "out", kind: "started", group: "bank", lsn: 1 });
});

test("status answers for people and, with --json, in INTERFACE's names", async () => {
  const { code, stdout } = await runCli(folder, "status");
  assert.equal(code, 0);
  assert.match(stdout, /^site east/);
  assert.match(stdout, /west +sync +synchronized +synchronized/);
  assert.match(stdout, /If east died now, nothing that was acked would be lost/);
  const json = await runCli(folder, "status", "--json");
  const status = JSON.parse(json.stdout) as {
    site: string;
    groups: { name: string; copies: { state: string }[] }[];
  };
  assert.equal(status.site, "east");
  assert.equal(status.groups[0]?.copies[0]?.state, "synchronized");
});

test("--site, before and after the command the command, choose who is asked", async () => {
  for (const args of [
    ["--site", "west", "status"],
    ["status", "bank", "--site", "west"],
  ]) {
    assert.match((await runCli(folder, ...args)).stdout, /^site west/);
  }
  assert.match((await runCli(folder, "status", "bank")).stdout, /^site east/);
});

test("pause, why, status --check, wait and resume, with their exit codes", async () => {
  const paused = await runCli(folder, "pause", "bank", "--copy", "west", "--wait");
  assert.equal(paused.code, 0);
  assert.match(paused.stdout, /copy west is paused/);

  const why = await runCli(folder, "why", "bank");
  assert.match(why.stdout, /copy west of bank is paused[\s\S]*antipode resume bank --copy west/);

  const checked = await runCli(folder, "status", "--check");
  assert.equal(checked.code, 1);
  assert.match(checked.stderr, /^error: bank: copy west is paused/);
  assert.match(checked.stderr, /^hint: antipode why bank$/m);

  const late = await runCli(folder, "wait", "bank", "--timeout", "5s");
  assert.equal(late.code, 4);
  assert.match(late.stderr, /^error: bank is not there after 5s: west paused/);
  assert.equal((await runCli(folder, "wait", "bank", "--state", "paused")).code, 0);

  const waiting = startCli(folder, ["wait", "bank", "--copy", "west", "--json"]);
  assert.equal((await runCli(folder, "resume", "bank")).code, 0);
  const { code, stdout } = await waiting.ended;
  assert.equal(code, 0);
  assert.equal((JSON.parse(stdout) as { name: string }).name, "bank");
  assert.equal((await runCli(folder, "status", "--check")).code, 0);
});

test("reload plans everywhere first, at the primary and then at the others; a slip of the file is told by the command", async () => {
  const planned = await runCli(folder, "reload", "bank", "--dry-run");
  assert.equal(planned.code, 0, planned.stderr);
  assert.match(
    planned.stdout,
    /- bank at east: read true\n- bank at west: read true\nnothing was done/,
  );
  const all = await runCli(folder, "reload", "--json");
  assert.equal(all.code, 0, all.stderr);
  const { ok, dryRun, sites } = JSON.parse(all.stdout) as {
    ok: boolean;
    dryRun: boolean;
    sites: { group: string; site: string; ok: boolean }[];
  };
  assert.deepEqual(
    [ok, dryRun, sites.map(({ site }) => site)],
    [true, false, ["east", "west", "east"]],
  );
  const one = await runCli(folder, "reload", "--site", "west");
  assert.match(one.stdout, /^- bank at west: read true\nreloaded\n$/);
  const nowhere = await runCli(folder, "reload", "shop");
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.stderr, /has no group "shop"/);

  const path = join(folder, "antipode.yaml");
  fs.writeFileSync(path, text.replace("mode: sync", "mode: synk"));
  const broken = await runCli(folder, "reload", "bank");
  fs.writeFileSync(path, text);
  assert.equal(broken.code, 2);
  assert.match(broken.stderr, /antipode\.yaml:6: groups\.bank\.copies\.west\.mode: "synk"/);
});

test("promote never guesses a site, prints the plan of a refusal, and ends in 3 when it is unsafe", async () => {
  const nowhere = await runCli(folder, "promote", "bank");
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.stderr, /hint: antipode promote bank --site NAME, with one of: east, west/);
  const refused = await runCli(folder, "promote", "bank", "--site", "west");
  assert.equal(refused.code, 3);
  assert.match(refused.stdout, /^- what would be lost/);
  assert.match(refused.stderr, /^error: the primary answers\nhint: ask the test\n$/);
  const json = await runCli(folder, "promote", "bank", "--site", "west", "--json");
  assert.equal((JSON.parse(json.stdout) as { code: string }).code, "unsafe");
  const dry = await runCli(folder, "demote", "bank", "--dry-run");
  assert.match(dry.stdout, /- drain\n- demote\nnothing was done/);
});

test("switchover, failback and --all plan first, pass over groups without the site, and end in the worst code", async () => {
  for (const spelling of ["--dry-run", "--dryRun"]) {
    const dry = await runCli(folder, "switchover", "bank", "--to", "west", spelling);
    assert.equal(dry.code, 0, dry.stderr);
    assert.match(dry.stdout, /^- west becomes primary\nnothing was done \(--dry-run\)\n$/);
  }
  const all = await runCli(folder, "failback", "--all", "--to", "west", "--dry-run");
  assert.equal(all.code, 0, all.stderr);
  assert.match(all.stdout, /- bank: west is synchronized\n.*nothing is lost\n- bank: west becomes/);
  assert.match(all.stdout, /- lone: no failback, west has no part in it\nnothing was done/);

  assert.equal((await runCli(folder, "pause", "bank", "--copy", "west")).code, 0);
  const paused = await runCli(folder, "failback", "bank", "--to", "west");
  assert.equal(paused.code, 3);
  assert.match(paused.stderr, /west is paused.*\nhint: antipode resume bank --copy west/);
  assert.equal((await runCli(folder, "resume", "bank", "--copy", "west")).code, 0);

  const refused = await runCli(folder, "promote", "--all", "--site", "west", "--json");
  assert.equal(refused.code, 3);
  const { ok, groups } = JSON.parse(refused.stdout) as {
    ok: boolean;
    groups: { group: string; code?: string; skipped?: string }[];
  };
  assert.equal(ok, false);
  assert.deepEqual(
    groups.map(({ group, code, skipped }) => [group, code ?? skipped]),
    [
      ["bank", "unsafe"],
      ["lone", "west has no part in it"],
    ],
  );
  const seen = await runCli(folder, "status", "--all");
  assert.match(seen.stdout, /^site east[\s\S]*^site west/m);
});

test("discard never guesses a side, prints the plan of a refusal, and ends in 3 when it is unsafe", async () => {
  const nowhere = await runCli(folder, "discard", "bank");
  assert.equal(nowhere.code, 2);
  assert.match(
    nowhere.stderr,
    /hint: antipode discard bank --site NAME --dry-run, with one of: east, west/,
  );
  const at = ["discard", "bank", "--site", "west"];
  const refused = await runCli(folder, ...at);
  assert.equal(refused.code, 3);
  assert.match(refused.stdout, /^- what would be lost/);
  assert.match(refused.stderr, /^error: hosts are served here\nhint: ask the test\n$/);
  const dry = await runCli(folder, ...at, "--force", "--dry-run");
  assert.match(dry.stdout, /^- give-up\nnothing was done/);
  assert.match((await runCli(folder, ...at, "--undo")).stdout, /^- undo\nbank at west is what it/);
  assert.match(
    (await runCli(folder, ...at, "--drop-branch")).stdout,
    /^- drop-branch\nwest keeps no/,
  );
  const both = await runCli(folder, ...at, "--undo", "--drop-branch");
  assert.equal(both.code, 2);
  assert.match(both.stderr, /--undo and --drop-branch exclude each other/);
});

test("events lists what happened, a line of JSON each with --json, and --follow goes on over a site's end", async () => {
  const { stdout } = await runCli(folder, "events", "bank");
  assert.match(
    stdout,
    /^\d{4}-\d\d-\d\dT\S+ {2}east {2}bank {2}started stopped -> running: the test said so$/m,
  );
  const lines = (await runCli(folder, "events", "--json")).stdout.trimEnd().split("\n");
  assert.equal((JSON.parse(lines[0] ?? "") as { seq: number }).seq, 1);

  const following = startCli(folder, ["events", "bank", "--follow", "--site", "west"]);
  await following.line(/started/);
  west.child.kill("SIGTERM");
  assert.equal((await west.ended).code, 0);
  west = startCli(folder, ["serve", "--site", "west"]);
  await west.line(/^ready /);
  assert.equal((await runCli(folder, "promote", "bank", "--force", "--site", "west")).code, 0);
  await following.line(/role secondary -> primary/);
  following.child.kill("SIGTERM");
  await following.ended;
});

test("inspect reads a data folder with no site running, details only when asked for", async () => {
  fs.mkdirSync(join(folder, "offline/bank"), { recursive: true });
  const plain = await runCli(folder, "inspect", "offline");
  assert.equal(plain.code, 0);
  assert.match(plain.stdout, /^folder: offline\/bank\ngeneration: 3/);
  assert.doesNotMatch(plain.stdout, /bitmap/);
  assert.match(
    (await runCli(folder, "inspect", "offline", "--bitmap")).stdout,
    /bitmap: 1\n {2}region\n {2}1/,
  );
  assert.equal((await runCli(folder, "inspect", "nowhere")).code, 2);
});

test("check says what each group promises, or every problem with file, line and hint", async () => {
  const good = await runCli(folder, "check");
  assert.equal(good.code, 0);
  assert.match(
    good.stdout,
    /^bank: acked when east and west have it.*\nlone: acked by east alone.*\n$/,
  );
  fs.writeFileSync(join(folder, "bad.yaml"), text.replace("mode: sync", "mode: async, rop: 1s"));
  const bad = await runCli(folder, "--config", "bad.yaml", "check");
  assert.equal(bad.code, 2);
  assert.match(
    bad.stderr,
    /^error: bad.yaml:6: groups.bank.copies.west.rop: unknown key\nhint: did you mean rpo\?\n$/,
  );
});

test("wrong usage ends in 2 and says what was meant", async () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["stauts"], /^error: unknown command 'stauts'\nhint: did you mean status\?/],
    [["status", "--chek"], /^error: unknown option '--chek'/],
    [["why"], /^error: missing required argument 'group'/],
    [["status", "bnak"], /no group "bnak"\nhint: did you mean bank\?/],
    [["status", "--site", "wets"], /no site "wets"\nhint: did you mean west\?/],
    [["wait", "bank", "--timeout", "3"], /has no unit/],
    [["wait", "bank", "--state", "synchronised"], /hint: did you mean synchronized\?/],
    [["pause", "bank", "--copy", "north"], /no copy at north\nhint: copies of bank: west/],
    [["repair", "bank", "--volume", "x"], /no volume "x"\nhint: volumes: data/],
    [["serve"], /serve needs to know which site it is/],
    [["switchover", "bank"], /required option '--to <site>' not specified/],
    [["switchover", "bank", "--to", "wset"], /no site "wset"\nhint: sites: east, west/],
    [["replay", "bank", "--cancel"], /whose log it was\nhint: bank has no bunker/],
    [["failback", "--to", "west"], /failback needs a group, or --all\nhint: groups: bank/],
    [["demote", "bank", "--all"], /--all stands for every group, and bank is one/],
    [["promote", "--all"], /hint: antipode promote --all --site NAME/],
    [["status", "--all", "--watch"], /--all shows everything once/],
    [["resize", "bank", "2MiB"], /"bank" names no volume\nhint: write GROUP\/VOLUME/],
    [["resize", "bank/data", "2MB"], /unknown unit "MB"\nhint: did you mean 2MiB/],
    [["status", "--config", "none.yaml"], /cluster file none.yaml cannot be read/],
  ];
  for (const [args, stderr] of cases) {
    const result = await runCli(folder, ...args);
    assert.equal(result.code, 2, `${args.join(" ")}: ${result.stderr}`);
    assert.match(result.stderr, stderr);
    assert.equal(result.stdout, "");
  }
  assert.equal((await runCli(folder, "--help")).code, 0);
});

test("without any site a command says who did not answer, and ends in 1", async () => {
  fs.writeFileSync(join(folder, "dead.yaml"), text.replaceAll("unix:./", "unix:./dead/"));
  const { code, stderr } = await runCli(folder, "--config", "dead.yaml", "status");
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^error: no site answers: east \(.*\); west \(.*\)\nhint: start one with: antipode serve/,
  );
});

test("another site behind an address is told apart: api addresses may repeat on other machines", async () => {
  const swapped = text.replace("east.api", "x.api").replace("west.api", "east.api");
  fs.writeFileSync(join(folder, "swapped.yaml"), swapped);
  const { code, stderr } = await runCli(
    folder,
    "--config",
    "swapped.yaml",
    "--site",
    "west",
    "status",
  );
  assert.equal(code, 1);
  assert.match(stderr, /is site east on this machine, not west/);
});

test("a site stops cleanly on SIGTERM, on SIGINT, and when its parent's pipe closes", async () => {
  const quiet = text
    .replaceAll("unix:./", "unix:./quiet-")
    .replaceAll("data: ./", "data: ./quiet-");
  fs.writeFileSync(join(folder, "quiet.yaml"), quiet);
  const args = ["--config", "quiet.yaml", "serve", "--site", "east", "--stdin-pipe"];
  const stops: readonly ((site: CliProcess) => void)[] = [
    ({ child }) => child.kill("SIGTERM"),
    ({ child }) => child.kill("SIGINT"),
    ({ child }) => child.stdin?.end(),
  ];
  for (const stop of stops) {
    const site = startCli(folder, args);
    await site.line(/^ready /);
    stop(site);
    const { code, stderr } = await site.ended;
    assert.equal(code, 0);
    assert.equal(stderr, "");
  }
});

test("a second site process on the same data is refused while the first goes on", async () => {
  const { code, stderr } = await runCli(folder, "serve", "--site", "east");
  assert.equal(code, 1);
  assert.match(stderr, /^error: the data folder .* is in use by process \d+/);
  assert.equal((await runCli(folder, "status", "--site", "east")).code, 0);
});

test("demo starts every site, prints URIs and what to try, keeps its file, and stops its children", async () => {
  const home = join(folder, "demo");
  fs.mkdirSync(home);
  fs.writeFileSync(join(home, "antipode.yaml"), text);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const demo = startCli(folder, ["demo", "--folder", home]);
    await demo.line(/^Everything lies in/);
    const pids = ["east", "west"].map((site) =>
      Number(fs.readFileSync(join(home, site, "lock"), "utf8")),
    );
    demo.child.kill(signal);
    const { code, stdout } = await demo.ended;
    assert.equal(code, 0);
    assert.match(stdout, /^ready site=east/m);
    assert.match(stdout, /^ready site=west/m);
    assert.match(stdout, /nbd\+unix:\/\/\/bank\/data\?socket=.*a\.nbd/);
    assert.match(stdout, /status --watch/);
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  }
  assert.equal(fs.readFileSync(join(home, "antipode.yaml"), "utf8"), text);
});

test("demo says which port is taken before it starts anything", async () => {
  const home = join(folder, "taken");
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  fs.mkdirSync(home);
  const taken = text.replace('peer: "unix:./west.peer"', `peer: 127.0.0.1:${address.port}`);
  fs.writeFileSync(join(home, "antipode.yaml"), taken);
  const { code, stderr } = await runCli(folder, "demo", "--folder", home);
  await new Promise((resolve) => server.close(resolve));
  assert.equal(code, 1);
  assert.match(
    stderr,
    new RegExp(
      `^error: port ${address.port} is taken: .* the peer address of west\nhint: stop what uses it`,
    ),
  );
});
