import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { dirname, join, relative } from "node:path";
import { createInterface } from "node:readline";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { bind } from "#io/bind.ts";
import { isLocal, parseAddress } from "#config/addresses.ts";
import type { Config, SiteConfig } from "#config/types.ts";
import { loadConfig } from "#control/load-config.ts";
import { findGroup } from "./find-site.ts";
import { exitCodes, highlight, say, sayError } from "./output.ts";
import { stopSignal } from "./stop-signal.ts";

export type DemoOptions = { readonly folder?: string };

const checkout = join(import.meta.dirname, "../..");

/** The cluster file of a demo's first start (INTERFACE, "Two commands"). */
export const demoConfig = `# Written by antipode demo. Change it as you like: it is read again at the next start, and never overwritten.
cluster: demo
sites:
  east: { peer: 127.0.0.1:7101, api: 127.0.0.1:7201, nbd: 127.0.0.1:10809, data: ./east }
  west: { peer: 127.0.0.1:7102, api: 127.0.0.1:7202, nbd: 127.0.0.1:10810, data: ./west }
  vault: { peer: 127.0.0.1:7103, api: 127.0.0.1:7203, data: ./vault }
groups:
  bank:
    primary: east
    volumes:
      data: { size: 1GiB }
      log: { size: 256MiB }
    copies:
      west: { mode: async }
      vault: { mode: bunker }
`;

/**
 * `antipode demo`: every site of a small cluster as a process of its own on this machine, until a signal stops them
 * all. The data stays, and a second start goes on with it. `script` is what runs the antipode command.
 */
export async function demo(options: DemoOptions, script: string): Promise<number> {
  const path = prepareFolder(options.folder ?? join(checkout, ".antipode/demo"));
  const config = loadConfig(path);
  await checkAddresses(config, path);

  // The children stop by their pipes, which close with this process even if it is killed.
  const stop = stopSignal();
  const children = [...config.sites.keys()].map((site) => startChild(site, path, script));
  const everyReady = Promise.all(children.map(({ ready }) => ready));
  try {
    const outcome = await Promise.race([everyReady, stop]);
    if (outcome === "stop") return exitCodes.done;
    const failed = children.filter((_, index) => outcome[index] !== true).map(({ site }) => site);
    if (failed.length > 0) {
      sayError(
        `site ${failed.join(", ")} did not start`,
        `its own words are above; its file is ${shown(path)}`,
      );
      return exitCodes.failed;
    }
    await welcome(config, path);
    const allGone = Promise.all(children.map(({ exited }) => exited));
    if ((await Promise.race([stop, allGone])) === "stop") return exitCodes.done;
    sayError("all sites have stopped", "start the demo again: it goes on with the same data");
    return exitCodes.failed;
  } finally {
    await Promise.all(children.map(stopChild));
  }
}

function prepareFolder(folder: string): string {
  const path = join(folder, "antipode.yaml");
  fs.mkdirSync(folder, { recursive: true });
  if (!fs.existsSync(path)) fs.writeFileSync(path, demoConfig);
  return path;
}

/** Tries every address before anything starts: one clear message is better than a site that fails half-way. */
async function checkAddresses(config: Config, path: string): Promise<void> {
  for (const { name, use, text } of [...config.sites.values()].flatMap(addressesOf)) {
    const parsed = parseAddress(text);
    if (!parsed.ok || !isLocal(parsed.address)) continue;
    const server = net.createServer();
    try {
      await bind(server, parsed.address);
    } catch (cause: unknown) {
      const what = parsed.address.kind === "tcp" ? `port ${parsed.address.port}` : "the socket";
      throw new AppError("failed", `${what} is taken: ${text}, the ${use} address of ${name}`, {
        hint: `stop what uses it (another demo?), or give ${name} another one in ${shown(path)}`,
        cause,
      });
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    await promise;
  }
}

function addressesOf(
  site: SiteConfig,
): readonly { readonly name: string; readonly use: string; readonly text: string }[] {
  const { name } = site;
  return [
    { name, use: "peer", text: site.peer },
    { name, use: "api", text: site.api },
    ...site.nbd.map((text) => ({ name, use: "nbd", text })),
  ];
}

type Child = {
  readonly site: string;
  /** True once the site serves, false when it ended instead. */
  readonly ready: Promise<boolean>;
  readonly exited: Promise<void>;
  /** Closes the child's standard input, upon which it stops cleanly. */
  readonly askToStop: () => void;
  readonly kill: () => void;
};

/**
 * Starts a site as a child in a process group of its own, so that ^C in a terminal reaches only the demo. The child
 * stops when the pipe to it closes, whichever way this process ends.
 */
function startChild(site: string, path: string, script: string): Child {
  const command = [
    ...process.execArgv,
    script,
    "serve",
    "--stdin-pipe",
    "--site",
    site,
    "--config",
    path,
  ];
  const child = spawn(process.execPath, command, {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const ready = Promise.withResolvers<boolean>();
  const exited = Promise.withResolvers<void>();
  let isReady = false;
  let isAsked = false;
  createInterface({ input: child.stdout }).on("line", (line) => {
    say(line);
    if (!line.startsWith("ready ")) return;
    isReady = true;
    ready.resolve(true);
  });
  createInterface({ input: child.stderr }).on("line", (line) =>
    process.stderr.write(`${site}: ${line}\n`),
  );
  // A child that is gone does not read its pipe; its end is told by "exit".
  child.stdin.on("error", () => undefined);
  child.on("error", (error) => {
    sayError(`site ${site} cannot be started: ${error.message}`, undefined);
    ready.resolve(false);
    exited.resolve();
  });
  child.on("exit", (code, signal) => {
    if (isReady && !isAsked) {
      const again = `bin/antipode serve --site ${site} --config ${shown(path)}`;
      sayError(
        `site ${site} ended (${signal ?? `exit code ${code}`}); the others go on`,
        `start it again: ${again}`,
      );
    }
    ready.resolve(false);
    exited.resolve();
  });
  return {
    site,
    ready: ready.promise,
    exited: exited.promise,
    askToStop() {
      isAsked = true;
      child.stdin.end();
    },
    kill: () => child.kill("SIGKILL"),
  };
}

async function stopChild(child: Child): Promise<void> {
  const timer = setTimeout(() => {
    sayError(`site ${child.site} does not stop and is killed; its next start recovers`, undefined);
    child.kill();
  }, limits.demoStopMsMax);
  child.askToStop();
  await child.exited;
  clearTimeout(timer);
}

/** URIs of what is exported now, which need not be where the file's primary is, and three lines to try. */
async function welcome(config: Config, path: string): Promise<void> {
  const uris: string[] = [];
  for (const name of config.groups.keys()) {
    const { group } = await findGroup({ config, site: undefined }, name);
    for (const volume of group.volumes) if (volume.uri !== "") uris.push(volume.uri);
  }
  const command = `${shown(join(checkout, "bin/antipode"))} --config ${shown(path)}`;
  const [group] = config.groups.values();
  const copy = [...(group?.copies.values() ?? [])].find(({ mode }) => mode !== "bunker");
  say("");
  say("The volumes, for any NBD client:");
  for (const uri of uris) say(`  ${highlight("bold", uri)}`);
  say("");
  say("Try next, in another terminal:");
  if (uris[0] !== undefined) say(`  qemu-io -f raw -c 'write -P 7 0 1M' ${uris[0]}`);
  say(`  ${command} status --watch`);
  if (group !== undefined && copy !== undefined) {
    say(`  ${command} switchover ${group.name} --to ${copy.site}`);
  }
  say("");
  say(
    `Everything lies in ${shown(dirname(path))}. Ctrl-C stops all; the next start goes on with the same data.`,
  );
}

/** A path as a person at the current folder would type it. */
function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near || ".";
}
