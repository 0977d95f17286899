// A cluster of real site processes in a temporary folder, for the acceptance tests: started, asked, killed and looked into.

import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { readEvents, readStatus } from "#cli/client.ts";
import { AppError } from "#base/errors.ts";
import type { StampedEvent } from "#control/event-log.ts";
import { openFolder } from "#io/folder.ts";
import type { TraceLine } from "#ports/events.ts";
import { isFailure } from "#ports/file.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";
import { type InspectReport, inspectGroupFolder } from "#store/inspect.ts";
import { onEnd } from "./on-end.ts";
import { makeTempFolder, removeTempFolder } from "./temp-folder.ts";

const program = join(import.meta.dirname, "../../bin/antipode");

/** Longest wait for anything that a test waits for; a healthy cluster needs a small part of it. */
const msMax = 60_000;

export type ClusterOptions = {
  /** The first one is the primary of every group; the others hold copies. */
  readonly sites?: readonly string[];
  /** Volumes by group, each with its size as the cluster file writes it. One group `bank` with one volume by default. */
  readonly groups?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Modes of copies by their site; `sync` where none is given. `relay`: no copy, but named by one (`through`). */
  readonly modes?: Readonly<Record<string, "sync" | "async" | "cycle" | "bunker" | "relay">>;
  /** Options of a copy by its site, as they stand in the cluster file behind the mode. */
  readonly copies?: Readonly<Record<string, string>>;
  /** Every site writes a trace; `TestSite.trace` reads it. */
  readonly isTraced?: boolean;
  /** Groups without copies. */
  readonly lone?: readonly string[];
  /** More lines of every group, such as `durability: write`. */
  readonly groupLines?: readonly string[];
  /** Sites whose peer address is a TCP port instead of a socket file, so that a proxy can reset connections to it. */
  readonly tcp?: readonly string[];
  /** Addresses to dial instead of a site's own: `reach.east.west` is where east finds west. */
  readonly reach?: (peers: ReadonlyMap<string, string>) => Promise<Reach>;
  /** Places of images beside the data folders: `at.bank.data.east`. */
  readonly at?: Readonly<
    Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>
  >;
  /** What one site's own copy of the file says otherwise: the cluster's name, the secret's file. */
  readonly own?: Readonly<Record<string, { readonly cluster?: string; readonly secret?: string }>>;
  /** What a site's process has in its environment beside ours. */
  readonly env?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** The secret's file of every site that `own` does not name. */
  readonly secret?: string;
};

export type Reach = Readonly<Record<string, Readonly<Record<string, string>>>>;

export type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type TestCluster = {
  readonly folder: string;
  site(name: string): TestSite;
  /** Starts the named sites, or all, side by side, and waits until each is ready. */
  start(...names: readonly string[]): Promise<void>;
  /** The `antipode` command with this cluster's file. */
  cli(...args: readonly string[]): Promise<Outcome>;
  /** Waits until a copy, as the group's primary sees it, is in the state. */
  copyIs(primary: string, copy: string, state: CopyStatus["state"]): Promise<CopyStatus>;
};

export type TestSite = {
  readonly name: string;
  /** The socket file of its NBD server. */
  readonly nbd: string;
  /** Its peer address, as it stands in the cluster file. */
  readonly peer: string;
  readonly data: string;
  /** What the running process has written to standard error. */
  readonly stderr: () => string;
  pid(): number;
  start(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  signal(signal: NodeJS.Signals): void;
  group(name?: string): Promise<GroupStatus>;
  /** What the site says of one copy. */
  copy(site: string, group?: string): Promise<CopyStatus>;
  /** Polls the group's status until the condition holds; throws with the last status when it never does. */
  until(what: string, holds: (group: GroupStatus) => boolean, group?: string): Promise<GroupStatus>;
  events(): Promise<readonly StampedEvent[]>;
  /** The trace up to now, where the cluster is traced. */
  trace(): readonly TraceLine[];
  /** Path of a volume's image in the site's folder. */
  image(volume?: string, group?: string): string;
  /** The group's folder as it lies on the disk, running or not. */
  inspect(group?: string): InspectReport;
};

/** Writes a cluster's files and prepares its sites; none is started. Everything is stopped and removed at the test's end. */
export async function createCluster(
  t: TestContext,
  options: ClusterOptions = {},
): Promise<TestCluster> {
  const folder = makeTempFolder();
  const names = options.sites ?? ["east", "west"];
  const peers = new Map<string, string>();
  for (const name of names) {
    const isTcp = options.tcp?.includes(name) === true;
    peers.set(
      name,
      isTcp ? `127.0.0.1:${await freePort()}` : `unix:${join(folder, `${name}.peer`)}`,
    );
  }
  const reach = (await options.reach?.(peers)) ?? {};
  const sites = new Map<string, TestSite>();
  const processes: SiteProcess[] = [];
  for (const name of names) {
    const file = join(folder, `${name}.yaml`);
    fs.writeFileSync(file, describe(options, { names, folder, peers, reach, self: name }));
    const trace = options.isTraced === true ? join(folder, `${name}.trace`) : undefined;
    const process = new SiteProcess(file, name, trace, options.env?.[name] ?? {});
    processes.push(process);
    sites.set(name, createSite(process, { folder, peer: peers.get(name) ?? "" }));
  }
  onEnd(t, async () => {
    await Promise.all(processes.map((process) => process.kill()));
    removeTempFolder(folder);
  });
  const site = (name: string): TestSite => {
    const found = sites.get(name);
    if (found === undefined) throw new Error(`the cluster has no site ${name}`);
    return found;
  };
  const config = join(folder, `${names[0] ?? ""}.yaml`);
  return {
    folder,
    site,
    async start(...some) {
      const chosen = some.length === 0 ? names : some;
      await Promise.all(chosen.map((name) => site(name).start()));
    },
    cli: (...args) => runAntipode(["--config", config, ...args]),
    async copyIs(primary, copy, state) {
      const what = `${copy} is ${state}`;
      const is = (group: GroupStatus): boolean => copyOf(group, copy)?.state === state;
      const group = await site(primary).until(what, is);
      return must(copyOf(group, copy), what);
    },
  };
}

/** A cluster whose sites all run and whose copies are all well. */
export async function startCluster(
  t: TestContext,
  options: ClusterOptions = {},
): Promise<TestCluster> {
  const cluster = await createCluster(t, options);
  await cluster.start();
  const [primary = "", ...copies] = options.sites ?? ["east", "west"];
  for (const copy of copies) {
    const isSync = (options.modes?.[copy] ?? "sync") === "sync";
    await cluster.copyIs(primary, copy, isSync ? "synchronized" : "streaming");
  }
  return cluster;
}

/** The group's status of one copy, where it has that copy. */
export function copyOf(group: GroupStatus, site: string): CopyStatus | undefined {
  return group.copies.find((copy) => copy.site === site);
}

/** Runs the command to its end. */
export function runAntipode(args: readonly string[]): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
  const child = spawn(program, args, { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), msMax);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.on("error", reject);
  child.on("close", (code) => {
    clearTimeout(timer);
    resolve({ code: code ?? -1, stdout, stderr });
  });
  return promise;
}

function environment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  for (const name of ["ANTIPODE_CONFIG", "ANTIPODE_SITE", "FORCE_COLOR", "NODE_TEST_CONTEXT"])
    delete env[name];
  return env;
}

function must<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`missing: ${what}`);
  return value;
}

// ---------------------------------------------------------------------------------------------------------------- the file

type Described = {
  readonly names: readonly string[];
  readonly folder: string;
  readonly peers: ReadonlyMap<string, string>;
  readonly reach: Reach;
  readonly self: string;
};

// JSON is YAML, too; only what tests want to write by hand stands as text.
function describe(
  options: ClusterOptions,
  { names, folder, peers, reach, self }: Described,
): string {
  const own = options.own?.[self];
  const secret = own?.secret ?? options.secret;
  const sites = names.map((name) => {
    const site = {
      peer: peers.get(name),
      api: `unix:${join(folder, `${name}.api`)}`,
      nbd: `unix:${join(folder, `${name}.nbd`)}`,
      data: join(folder, name),
      ...(reach[name] === undefined ? {} : { reach: reach[name] }),
    };
    return `  ${name}: ${JSON.stringify(site)}`;
  });
  const groups = Object.entries(options.groups ?? { bank: { data: "8MiB" } }).map(
    ([group, volumes]) => {
      const described = Object.entries(volumes).map(([name, size]) => {
        const at = options.at?.[group]?.[name];
        return `      ${name}: ${JSON.stringify(at === undefined ? { size } : { size, at })}`;
      });
      const isLone = options.lone?.includes(group) === true;
      const others = isLone ? [] : names.slice(1);
      const held = others.filter((name) => options.modes?.[name] !== "relay");
      const copies = held.map((name) => {
        const more = options.copies?.[name] ?? "probe: 100ms";
        return `      ${name}: { mode: ${options.modes?.[name] ?? "sync"}, ${more} }`;
      });
      return [
        `  ${group}:`,
        `    primary: ${names[0] ?? ""}`,
        "    volumes:",
        ...described,
        ...(copies.length === 0 ? [] : ["    copies:", ...copies]),
        ...(options.groupLines ?? []).map((line) => `    ${line}`),
      ].join("\n");
    },
  );
  return [
    `cluster: ${own?.cluster ?? "acceptance"}`,
    ...(secret === undefined ? [] : [`secret: ${secret}`]),
    "sites:",
    ...sites,
    "groups:",
    ...groups,
    "",
  ].join("\n");
}

const portsFirst = 20_000;
const portsPerProcess = 30;
let portsGiven = 0;

/**
 * A port that nobody listens on now. Not one that the kernel gives: between this and its use, it may give the same one to a
 * connection of any process. Nor one at random: a site that is down still owns its port, and another test's must not take it.
 */
async function freePort(): Promise<number> {
  const first = portsFirst + (process.pid % 400) * portsPerProcess;
  for (;;) {
    const port = first + (portsGiven % portsPerProcess);
    portsGiven += 1;
    const server = net.createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

// --------------------------------------------------------------------------------------------------------------- processes

/** `antipode serve` of one site, again and again. */
class SiteProcess {
  readonly name: string;
  readonly #file: string;
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);
  #stdout = "";
  stderr = "";

  readonly trace: string | undefined;
  readonly #env: Readonly<Record<string, string>>;

  constructor(
    file: string,
    name: string,
    trace: string | undefined,
    env: Readonly<Record<string, string>>,
  ) {
    this.#file = file;
    this.#env = env;
    this.name = name;
    this.trace = trace;
  }

  get pid(): number {
    return must(this.#child?.pid, `${this.name} runs`);
  }

  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error(`${this.name} runs already`);
    const traced = this.trace === undefined ? [] : ["--trace", this.trace];
    const args = ["--config", this.#file, "serve", "--site", this.name, ...traced];
    const child = spawn(program, args, {
      env: { ...environment(), ...this.#env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.#stdout = "";
    this.stderr = "";
    const ready = Promise.withResolvers<void>();
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
      if (/^ready .*\n/m.test(this.#stdout)) ready.resolve();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.#ended = new Promise((resolve) => {
      child.on("close", (code) => {
        if (this.#child === child) this.#child = undefined;
        ready.reject(new Error(`${this.name} ended with ${String(code)}: ${this.stderr}`));
        resolve(code);
      });
    });
    child.on("error", ready.reject);
    const timer = setTimeout(() => ready.reject(new Error(`${this.name} is not ready`)), msMax);
    await ready.promise.finally(() => clearTimeout(timer));
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#ended;
  }

  async stop(): Promise<number | null> {
    this.signal("SIGTERM");
    const late = setTimeout(() => this.signal("SIGKILL"), msMax);
    return this.#ended.finally(() => clearTimeout(late));
  }
}

/**
 * Asks again where the site runs and its answer took longer than a person would wait for it: a machine that has twenty other
 * things to do is slow, and not wrong. Nobody that listens, and every other answer, is told at once.
 */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + msMax;
  for (;;) {
    try {
      return await ask();
    } catch (error: unknown) {
      if (!isLate(error) || performance.now() > endMs) throw error;
    }
  }
}

function isLate(error: unknown): boolean {
  if (!(error instanceof AppError)) return false;
  return error.code === "timeout" || error.message.includes("its thread is stuck or overloaded");
}

function createSite(
  process: SiteProcess,
  { folder, peer }: { readonly folder: string; readonly peer: string },
): TestSite {
  const { name } = process;
  const api = `unix:${join(folder, `${name}.api`)}`;
  const data = join(folder, name);
  const group = async (wanted = "bank"): Promise<GroupStatus> => {
    const { groups } = await patiently(() => readStatus(api));
    return must(
      groups.find((each) => each.name === wanted),
      `group ${wanted} at ${name}`,
    );
  };
  return {
    name,
    nbd: join(folder, `${name}.nbd`),
    peer,
    data,
    stderr: () => process.stderr,
    pid: () => process.pid,
    start: () => process.start(),
    kill: () => process.kill(),
    stop: () => process.stop(),
    signal: (signal) => process.signal(signal),
    group,
    copy: async (site, wanted) =>
      must(copyOf(await group(wanted), site), `copy ${site} at ${name}`),
    events: () => patiently(() => readEvents(api)),
    image: (volume = "data", wanted = "bank") => join(data, wanted, `${volume}.img`),
    trace() {
      const text = fs.readFileSync(must(process.trace, "the cluster is traced"), "utf8");
      // The last line may still be under way.
      const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
      return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as TraceLine);
    },
    inspect(wanted = "bank") {
      const opened = openFolder(join(data, wanted));
      if (isFailure(opened)) throw new Error(opened.message);
      return inspectGroupFolder(opened);
    },
    async until(what, holds, wanted) {
      const endMs = performance.now() + msMax;
      for (;;) {
        const seen = await group(wanted);
        if (holds(seen)) return seen;
        if (performance.now() > endMs) {
          throw new Error(`${name} never said: ${what}\n${JSON.stringify(seen, undefined, 1)}`);
        }
        await delay(10);
      }
    },
  };
}
