import fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { readStatus } from "#cli/client.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";
import { type Link, type LinkEnds, type LinkShape, startLink } from "../link.ts";
import { nbdUri, type Place, type ServerAddress } from "../place.ts";
import { runProgram, type Server, startServer } from "../processes.ts";
import { type Running, stopAll } from "./contender.ts";

/** How long a copy may take to get where it is waited for, such as to catch up after a run. */
const copyMsMax = 300_000;
const pollMs = 50;

const program = join(import.meta.dirname, "../../bin/antipode");

export type ClusterOptions = {
  readonly name: string;
  /** How `west` copies `east`; undefined: there is no `west`. */
  readonly mode: "sync" | "async" | "cycle" | undefined;
  /** Options of the copy, as they stand behind its mode in the cluster file. */
  readonly copyOptions?: string;
  /** Left out: as the product has it. */
  readonly journalBytes?: number;
  /** The sites reach each other over such a link. Left out: over the same kind of socket as the host reaches the primary. */
  readonly link?: LinkShape;
  /** Acks wait for `vault` too, a bunker; with a link, that is the way between it and the primary. */
  readonly hasBunker?: boolean;
};

/** Sites of Antipode, each a process of its own; `east` is the primary. */
export type Cluster = Running & {
  /** What the primary says of the group. */
  status(): Promise<GroupStatus>;
  /** What the primary says of the copy. */
  copy(): Promise<CopyStatus>;
  /** Waits until the copy has applied everything. */
  caughtUp(): Promise<void>;
  site(name: SiteName): Server;
  /** SIGTERM for `west`; resolves when it is gone and the primary knows it. */
  stopCopy(): Promise<void>;
  /** SIGKILL for `east`; resolves when it is gone. */
  killPrimary(): Promise<void>;
  /** SIGSTOP for `east`. */
  silencePrimary(): void;
  /** A command of `antipode`; resolves with what it printed. */
  cli(...argv: readonly string[]): Promise<string>;
  /** The volume at the copy, once that has been promoted. */
  readonly uriAtCopy: string;
  /** Starts a site that is gone; resolves when it has printed its `ready` line. */
  startSite(name: SiteName): Promise<void>;
  /** The link, where the options have one. */
  link(): Link;
};

export type SiteName = "east" | "west" | "vault";

/** Starts the sites, and resolves when the copy is well. */
export async function startCluster(place: Place, options: ClusterOptions): Promise<Cluster> {
  const { name, mode } = options;
  const names: SiteName[] = mode === undefined ? ["east"] : ["east", "west"];
  if (options.hasBunker === true) names.push("vault");
  const folder = place.folder(name);
  const config = join(folder, "antipode.yaml");
  const address = await place.address(name);
  const image = (site: SiteName): string => join(folder, site, "bench/disk.img");
  const api = (site: SiteName): string => `unix:${place.controlSocket(`${name}-${site}`)}`;
  fs.mkdirSync(join(folder, "east/bench"), { recursive: true });
  place.createImage(image("east"));
  const peers = await peersOf(place, options);
  const opened =
    options.link === undefined
      ? undefined
      : await startLink(endsOf(peers, options), options.link, place.signal);
  fs.writeFileSync(
    config,
    describe(place, options, { names, address, api, peers, reach: opened?.reach }),
  );
  const sites = createSites(config, place.signal);
  await Promise.all(names.map(sites.start));
  const cli = (...argv: readonly string[]): Promise<string> =>
    runProgram(program, [...argv, "--config", config], place.signal);
  const wait = (): Promise<string> => cli("wait", "bench", "--timeout", "120s");
  const status = async (): Promise<GroupStatus> => {
    const [group] = (await readStatus(api("east"))).groups;
    if (group === undefined) throw new Error(`${name} has no group`);
    return group;
  };
  const copy = async (): Promise<CopyStatus> => {
    const [found] = (await status()).copies;
    if (found === undefined) throw new Error(`${name} has no copy`);
    return found;
  };
  if (mode !== undefined) await wait();
  return {
    uri: nbdUri(address, "bench/disk"),
    get servers() {
      return names.map(sites.get);
    },
    images: names.filter((site) => site !== "vault").map(image),
    uriAtCopy: nbdUri(copySocket(place, name), "bench/disk"),
    cli,
    status,
    copy,
    caughtUp: () => until(copy, isCaughtUp),
    site: sites.get,
    async stopCopy() {
      await sites.get("west").stop();
      await until(copy, ({ state }) => state === "buffering");
    },
    killPrimary: () => sites.get("east").kill(),
    silencePrimary: () => sites.get("east").silence(),
    startSite: sites.start,
    link() {
      if (opened === undefined) throw new Error(`${name} has no link`);
      return opened.link;
    },
    async checkMirror() {
      if (mode !== undefined) await wait();
      if (mode === "async" || mode === "cycle") await until(copy, isCaughtUp);
    },
    async stop() {
      await stopAll(names.map(sites.get));
      await opened?.link.stop();
    },
  };
}

type Sites = {
  start(name: SiteName): Promise<void>;
  get(name: SiteName): Server;
};

function createSites(config: string, signal: AbortSignal): Sites {
  const servers = new Map<SiteName, Server>();
  return {
    async start(name) {
      const server = await startServer({
        name,
        command: [program, "serve", "--site", name, "--config", config],
        isReady: async (words) => /^ready /m.test(words),
        signal,
      });
      servers.set(name, server);
    },
    get(name) {
      const server = servers.get(name);
      if (server === undefined) throw new Error(`${name} was never started`);
      return server;
    },
  };
}

async function until(
  look: () => Promise<CopyStatus>,
  holds: (copy: CopyStatus) => boolean,
): Promise<void> {
  const deadlineMs = performance.now() + copyMsMax;
  for (;;) {
    const copy = await look();
    if (holds(copy)) return;
    if (performance.now() > deadlineMs) {
      const { state, lagWrites, why } = copy;
      throw new AppError("timeout", `the copy is ${state}, lags ${lagWrites} writes: ${why}`);
    }
    await sleep(pollMs);
  }
}

/** What a run left on its way must not burden the next one, whose contender is another. */
function isCaughtUp({ state, lagWrites, applyLagWrites }: CopyStatus): boolean {
  return state === "streaming" && lagWrites === 0 && applyLagWrites === 0;
}

// ---------------------------------------------------------------------------------------------------------------- the file

type Peers = Readonly<Record<SiteName, string>>;

/** The bunker's link, where there is one, is the one that acks wait for. */
function endsOf(peers: Peers, { hasBunker }: ClusterOptions): LinkEnds {
  return { east: peers.east, west: hasBunker === true ? peers.vault : peers.west };
}

function copySocket(place: Place, name: string): ServerAddress {
  return { kind: "unix", path: place.controlSocket(`${name}-west-nbd`) };
}

async function peersOf(place: Place, { name, link }: ClusterOptions): Promise<Peers> {
  const peer = async (site: SiteName): Promise<string> =>
    addressText(
      await (link === undefined ? place.address(`${name}-${site}-peer`) : place.tcpAddress()),
    );
  return { east: await peer("east"), west: await peer("west"), vault: await peer("vault") };
}

type Described = {
  readonly names: readonly SiteName[];
  /** Where hosts find the primary. */
  readonly address: ServerAddress;
  readonly api: (site: SiteName) => string;
  readonly peers: Peers;
  /** What to dial instead, where the sites are a link apart. */
  readonly reach: LinkEnds | undefined;
};

function describe(
  place: Place,
  { name, mode, copyOptions, journalBytes, hasBunker }: ClusterOptions,
  { names, address, api, peers, reach }: Described,
): string {
  const lines = [`cluster: ${name}`, "sites:"];
  for (const site of names) {
    const nbd = nbdOf(place, { name, address, site });
    const way = wayOf(site, hasBunker === true ? "vault" : "west", reach);
    lines.push(
      `  ${site}: { peer: "${peers[site]}", api: "${api(site)}"${nbd}${way}, data: ./${site} }`,
    );
  }
  lines.push("groups:", "  bench:", "    primary: east");
  lines.push(`    volumes: { disk: { size: ${place.volume.bytes} } }`);
  if (journalBytes !== undefined) lines.push(`    journal: { size: ${journalBytes} }`);
  const bunker = hasBunker === true ? ", vault: { mode: bunker }" : "";
  const more = copyOptions === undefined ? "" : `, ${copyOptions}`;
  if (mode !== undefined) lines.push(`    copies: { west: { mode: ${mode}${more} }${bunker} }`);
  return `${lines.join("\n")}\n`;
}

/** What a site at one end of the link dials for the other end. */
function wayOf(site: SiteName, far: SiteName, reach: LinkEnds | undefined): string {
  if (reach === undefined) return "";
  if (site === "east") return `, reach: { ${far}: "${reach.west}" }`;
  return site === far ? `, reach: { east: "${reach.east}" }` : "";
}

type HostDoor = {
  readonly name: string;
  readonly address: ServerAddress;
  readonly site: SiteName;
};

function nbdOf(place: Place, { name, address, site }: HostDoor): string {
  if (site === "vault") return "";
  return `, nbd: "${addressText(site === "east" ? address : copySocket(place, name))}"`;
}

function addressText(address: ServerAddress): string {
  return address.kind === "unix" ? `unix:${address.path}` : `127.0.0.1:${address.port}`;
}
