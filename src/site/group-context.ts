import { must } from "#base/assert.ts";
import type { GroupConfig } from "#config/types.ts";
import type { EventRecord } from "#ports/events.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { GroupStore } from "#store/group-store.ts";
import type { Inquiries } from "./inquiry.ts";
import type { PeerIdentity } from "./peer-connection.ts";
import type { SitePorts } from "./ports.ts";

/** What the runs of a group share: its configuration, its store and images, and the ways to the world. */
export type GroupContext = {
  /** As it runs: what the recorded revision says, and the rest from this site's file. A reload brings another. */
  config: GroupConfig;
  readonly site: string;
  readonly ports: SitePorts;
  readonly identity: PeerIdentity;
  readonly store: GroupStore;
  /** By volume index; a repaired volume gets a new one. */
  readonly images: BlockDevice[];
  /** The group's log on a path (site/path-bunker.ts), opened by this process: what is told of it is synced there. */
  readonly isOnPath?: true;
  readonly inquiries: Inquiries;
  /** Address at which to dial a site. */
  readonly addressOf: (site: string) => string;
};

export function emit(context: GroupContext, event: Omit<EventRecord, "group">): void {
  context.ports.events.emit({ ...event, group: context.config.name });
}

/** The image of a volume, by its index. */
export function imageOf({ images }: Pick<GroupContext, "images">, volume: number): BlockDevice {
  return must(images[volume], `volume ${volume} has no image`);
}
