import { KiB } from "#base/limits.ts";
import type { CopyConfig } from "#config/types.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { allCheckers } from "./checkers/all.ts";
import { setLimits } from "./knobs.ts";
import { createPrng } from "./prng.ts";
import { quietSwarm } from "./scripts.ts";
import { drawSetLimits } from "./swarm-sets.ts";
import { World } from "./world.ts";

/** Numbers on a page are short where sets are plain: a batch is one block, and an idle group seals nothing for a while. */
const plainLimits = {
  batchBytesMax: 8 * KiB,
  batchEntriesMax: 4,
  setEntriesMax: 256,
  cycleEntriesMax: 128,
  senderReadBytes: 64 * KiB,
  laneQueueBytesMax: 8 * KiB,
  sessionWindowBytesMin: 64 * KiB,
  sessionWindowBytesMax: 256 * KiB,
  sessionSetsMax: 64,
  emptySealMs: 600_000,
};

/** What the first line of a scenario says of its world: `copies=west,north ackAt=journal every=50 overflow=trip ...`. */
export type Settings = ReadonlyMap<string, string>;

/** A primary, copies in cycles, two volumes, one host, and nothing that happens by itself. Every checker looks on. */
export function createScenarioWorld(
  settings: Settings,
  createSite: (options: SiteOptions) => Site,
): World {
  const quiet = quietSwarm("flush");
  const [group] = quiet.config.groups.values();
  const west = group?.copies.get("west");
  if (group === undefined || west === undefined) throw new RangeError("no group to begin with");
  const everyMs = Number(settings.get("every") ?? 50);
  const copy: CopyConfig = {
    ...west,
    mode: "cycle",
    connections: 4,
    ackAt: settings.get("ackAt") === "switch" ? "switch" : "journal",
    resume: settings.get("resume") === "manual" ? "manual" : "auto",
    seal: { everyMs, bytesMax: 512 * KiB, onFlush: false },
  };
  const copies = (settings.get("copies") ?? "west").split(",");
  const overflow = settings.get("overflow") === "stall" ? "stall" : "trip";
  const bank = {
    ...group,
    volumes: ["data", "log"].map((name) => ({ name, bytes: 512 * KiB, at: new Map() })),
    copies: new Map(copies.map((site) => [site, { ...copy, site }])),
    journal: { bytesMax: Number(settings.get("journal") ?? 4096) * KiB, overflow } as const,
  };
  const sites = ["east", ...copies];
  const [east] = quiet.config.sites.values();
  if (east === undefined) throw new RangeError("no site to begin with");
  const described = sites.map((name) => {
    const addresses = { peer: `${name}:7101`, api: `${name}:7201`, nbd: [`${name}:10809`] };
    return [name, { ...east, name, ...addresses, data: `/sim/${name}` }] as const;
  });
  const limits = { ...quiet.limits, ...drawSetLimits(createPrng("scenario")), ...plainLimits };
  setLimits(limits);
  const config = {
    ...quiet.config,
    sites: new Map(described),
    groups: new Map([["bank", bank]]),
  };
  return new World({
    label: "scenario",
    // What comes in part is what these stories are about.
    swarm: { ...quiet, limits, sites, config, network: { ...quiet.network, splitChance: 1 } },
    createSite,
    checkers: allCheckers,
    story: { told: true, linesMax: 400 },
    counters: new Map(),
  });
}
