import fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import type { SiteStatus } from "#site/api.ts";
import { nbdUri, type Place, type ServerAddress } from "../place.ts";
import { isListening, runProgram, startServer } from "../processes.ts";
import { type Contender, stopAll } from "./contender.ts";

/** How long a copy may take to catch up after a run. */
const catchUpMsMax = 120_000;
const pollMs = 200;

const program = join(import.meta.dirname, "../../bin/antipode");

/** Antipode without copies: its NBD export, its order and its open map, but no session. */
export const antipode: Contender = {
  title: "Antipode",
  start: (place) => start(place, "antipode", undefined),
};

/** Antipode with one synchronous copy, every site a process of its own; started when the copy is `synchronized`. */
export const antipodeMirror: Contender = {
  title: "Antipode mirror",
  start: (place) => start(place, "antipode-mirror", "sync"),
};

/** Antipode with one asynchronous copy: a write is answered when it is in the journal and the image here. */
export const antipodeAsync: Contender = {
  title: "Antipode async",
  start: (place) => start(place, "antipode-async", "async"),
};

type Mode = "sync" | "async";

async function start(place: Place, name: string, mode: Mode | undefined) {
  const copies = mode === undefined ? [] : ["west"];
  const folder = place.folder(name);
  const config = join(folder, "antipode.yaml");
  const address = await place.address(name);
  const sites = ["east", ...copies];
  const image = (site: string): string => join(folder, site, "bench/disk.img");
  fs.mkdirSync(join(folder, "east/bench"), { recursive: true });
  place.createImage(image("east"));
  fs.writeFileSync(config, await configOf(place, { name, address, sites, mode }));
  const servers = await Promise.all(
    sites.map((site) =>
      startServer({
        name: site,
        command: [program, "serve", "--site", site, "--config", config],
        isReady: () => isListening({ kind: "unix", path: place.controlSocket(`${name}-${site}`) }),
        signal: place.signal,
      }),
    ),
  );
  const wait = (timeout: string): Promise<string> =>
    runProgram(program, ["wait", "bench", "--config", config, "--timeout", timeout], place.signal);
  if (copies.length > 0) await wait("120s");
  return {
    uri: nbdUri(address, "bench/disk"),
    servers,
    images: sites.map(image),
    async checkMirror() {
      if (copies.length > 0) await wait("120s");
      if (mode === "async") await caughtUp(config, place.signal);
    },
    stop: () => stopAll(servers),
  };
}

/** The copy has applied everything: what a run left on its way must not burden the next one, whose contender is another. */
async function caughtUp(config: string, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + catchUpMsMax;
  for (;;) {
    const text = await runProgram(
      program,
      ["status", "bench", "--json", "--config", config],
      signal,
    );
    const { groups } = JSON.parse(text) as SiteStatus;
    const copy = groups[0]?.copies[0];
    if (copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0) return;
    if (performance.now() > deadlineMs)
      throw new AppError("timeout", `the copy lags ${copy?.lagWrites} writes after a run`);
    await sleep(pollMs);
  }
}

type Cluster = {
  readonly name: string;
  readonly address: ServerAddress;
  readonly sites: readonly string[];
  readonly mode: Mode | undefined;
};

/** The sites reach each other over the same kind of socket as the host reaches the primary. */
async function configOf(place: Place, { name, address, sites, mode }: Cluster): Promise<string> {
  const lines = [`cluster: ${name}`, "sites:"];
  for (const site of sites) {
    const peer = addressText(await place.address(`${name}-${site}-peer`));
    const api = `unix:${place.controlSocket(`${name}-${site}`)}`;
    const nbd = site === "east" ? `, nbd: "${addressText(address)}"` : "";
    lines.push(`  ${site}: { peer: "${peer}", api: "${api}"${nbd}, data: ./${site} }`);
  }
  lines.push("groups:", "  bench:", "    primary: east");
  lines.push(`    volumes: { disk: { size: ${place.volume.bytes} } }`);
  const copies = sites.slice(1).map((site) => `${site}: { mode: ${mode ?? "sync"} }`);
  if (copies.length > 0) lines.push(`    copies: { ${copies.join(", ")} }`);
  return `${lines.join("\n")}\n`;
}

function addressText(address: ServerAddress): string {
  return address.kind === "unix" ? `unix:${address.path}` : `127.0.0.1:${address.port}`;
}
