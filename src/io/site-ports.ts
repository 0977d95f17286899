import fs from "node:fs";
import { dirname, join } from "node:path";
import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { isDeviceUri, parseDeviceUri } from "#config/device-uri.ts";
import { imagePath } from "#config/places.ts";
import type { Config, VolumeConfig } from "#config/types.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Events, Trace } from "#ports/events.ts";
import type { SitePorts } from "#site/ports.ts";
import { readBootId } from "./boot-id.ts";
import { createClock } from "./clock.ts";
import { loadCrypto } from "./crypto.ts";
import { openFolder, openFolderIn } from "./folder.ts";
import { openImage } from "./image.ts";
import type { ImageWanted } from "./image.ts";
import { createLinkedImage } from "#site/linked-image.ts";
import { createNbdLink } from "./nbd-link.ts";
import type { NbdLinkOptions } from "./nbd-link.ts";
import { createPacking } from "./packing.ts";
import { DirectMemory } from "./direct-memory.ts";
import { createUnsyncedBudget } from "./unsynced-bound.ts";
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
  const own = must(config.sites.get(site), `no site ${site} in the configuration`);
  const ofAllImages = { budget: createUnsyncedBudget(), memory: new DirectMemory() };
  const clock = createClock();
  const transport = createTransport(memory);
  return {
    clock,
    crypto: await loadCrypto(),
    transport,
    packing: createPacking(),
    events,
    trace,
    bootId: readBootId(),
    openFolder: (group) => openFolder(join(own.data, group)),
    openLogFolder: (path, group, makes) => openFolderIn(path, group, makes),
    openImage(group, volume, { bytes, isOnRecord }) {
      const named = volumeOf(config, group, volume);
      const place = imagePath(own, group, named);
      if (!isDeviceUri(place)) return openVolume(place, { bytes, isOnRecord, ...ofAllImages });
      const trustDevice = named.trustDevice === true;
      return openDevice(place, { bytes, trustDevice, clock, transport });
    },
  };
}

function volumeOf(config: Config, group: string, volume: string): VolumeConfig {
  const { volumes } = must(config.groups.get(group), `no group ${group}`);
  return must(
    volumes.find(({ name }) => name === volume),
    `no volume ${volume} in group ${group}`,
  );
}

/** An NBD server's export. It is dialled from now on, and found out to fit, or not, later. */
function openDevice(
  address: string,
  options: Pick<NbdLinkOptions, "bytes" | "trustDevice" | "clock" | "transport">,
): BlockDevice | IoFailure {
  const parsed = parseDeviceUri(address);
  if (!parsed.ok) return { code: "EINVAL", message: parsed.reason };
  const { dial, name } = parsed.uri;
  return createLinkedImage({
    clock: options.clock,
    connect: (events) => createNbdLink({ ...options, address, dial, name }, events),
  });
}

/** A missing folder is made too, but not for what was there before, nor under /dev: there it means that a device is missing. */
function openVolume(path: string, wanted: ImageWanted): BlockDevice | IoFailure {
  const above = dirname(path);
  if (wanted.isOnRecord !== true && !fs.existsSync(above) && !path.startsWith("/dev/")) {
    const folder = openFolder(above);
    if ("code" in folder) return folder;
  }
  return openImage(path, wanted);
}
