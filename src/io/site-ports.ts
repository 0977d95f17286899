import fs from "node:fs";
import { dirname, join } from "node:path";
import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import type { Config } from "#config/types.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Events, Trace } from "#ports/events.ts";
import type { SitePorts } from "#site/ports.ts";
import { readBootId } from "./boot-id.ts";
import { createClock } from "./clock.ts";
import { loadCrypto } from "./crypto.ts";
import { openFolder } from "./folder.ts";
import { openImage } from "./image.ts";
import { createPacking } from "./packing.ts";
import { createUnsyncedBudget, type UnsyncedBudget } from "./unsynced-bound.ts";
import type { ReceivedMemory } from "./received-memory.ts";
import { createTransport } from "./transport.ts";

export type SitePortsOptions = {
  readonly config: Config;
  /** The site whose folders and images are meant. */
  readonly site: string;
  readonly events: Events;
  readonly trace: Trace | undefined;
  /** Shared with the fronts of the site. */
  readonly memory: ReceivedMemory;
};

/**
 * The real world of one site: this machine's clock, disks and network. The data folder is to be taken with
 * `takeDataLock` before; the sockets that listen are the caller's (`listen`).
 */
export async function createSitePorts(options: SitePortsOptions): Promise<SitePorts> {
  const { config, site, events, trace, memory } = options;
  const { data } = must(config.sites.get(site), `no site ${site} in the configuration`);
  const budget = createUnsyncedBudget();
  return {
    clock: createClock(),
    crypto: await loadCrypto(),
    transport: createTransport(memory),
    packing: createPacking(),
    events,
    trace,
    bootId: readBootId(),
    openFolder: (group) => openFolder(join(data, group)),
    openImage: (group, volume, bytes) =>
      openVolume(imagePath(options, group, volume), bytes, budget),
  };
}

/** Where a volume's image lies at a site: what the cluster file says, else `<data>/<group>/<volume>.img`. */
export function imagePath(
  options: { readonly config: Config; readonly site: string },
  group: string,
  volume: string,
): string {
  const { data } = must(options.config.sites.get(options.site), `no site ${options.site}`);
  const volumes = must(options.config.groups.get(group), `no group ${group}`).volumes;
  const named = must(
    volumes.find(({ name }) => name === volume),
    `no volume ${volume} in group ${group}`,
  );
  return named.at.get(options.site) ?? join(data, group, `${volume}.img`);
}

/** A missing folder is made too, except under /dev, where a folder missing means a device missing. */
function openVolume(path: string, bytes: number, budget: UnsyncedBudget): BlockDevice | IoFailure {
  const above = dirname(path);
  if (!fs.existsSync(above) && !path.startsWith("/dev/")) {
    const folder = openFolder(above);
    if ("code" in folder) return folder;
  }
  return openImage(path, bytes, budget);
}
