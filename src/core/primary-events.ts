import type { IoFailure } from "#base/errors.ts";
import type { EventRecord } from "#ports/events.ts";
import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import type { GroupRecord } from "./group-record.ts";
import type { EndedEffect, ResyncItem } from "./primary-state.ts";
import type { RegionMap } from "./region-map.ts";

// What moves the machine of a primary, and what it asks for.

/** What a member said of itself when the session was opened. */
export type MemberHello = {
  readonly replicaId: string;
  readonly history: GroupRecord["history"];
  /** Sites without whom it acked writes when it was primary. */
  readonly aloneTowards: readonly string[];
  /** It never held a whole image. */
  readonly isBlank: boolean;
  /** A sync failed there: what its image reads may not be on its disk, so comparing proves nothing. */
  readonly mustRewrite: boolean;
};

export type PrimaryEvent =
  | { readonly kind: "start" }
  | { readonly kind: "tick"; readonly nowMs: number }
  | { readonly kind: "request"; readonly request: HostRequest }
  | { readonly kind: "turnEnd" }
  | { readonly kind: "openMapDurable"; readonly ticket: number }
  | {
      readonly kind: "imageDone";
      readonly request: HostRequest;
      readonly failure: IoFailure | undefined;
    }
  | {
      readonly kind: "imageSynced";
      readonly ticket: number;
      readonly volume: number;
      readonly failure: IoFailure | undefined;
    }
  | { readonly kind: "recorded"; readonly ticket: number }
  | { readonly kind: "storeFailed"; readonly what: string }
  /** There is no session. `mayLive`: that proves nothing of the member's site, which may even have answered. */
  | {
      readonly kind: "memberDown";
      readonly member: number;
      readonly why: string;
      readonly mayLive?: true;
    }
  | {
      readonly kind: "sessionOpened";
      readonly member: number;
      readonly epoch: number;
      readonly hello: MemberHello;
    }
  | {
      readonly kind: "sessionLost";
      readonly member: number;
      readonly epoch: number;
      readonly why: string;
    }
  | { readonly kind: "acked"; readonly member: number; readonly sequence: number }
  | { readonly kind: "flushed"; readonly member: number; readonly ticket: number }
  | {
      readonly kind: "differs";
      readonly member: number;
      readonly sequence: number;
      readonly bits: Uint8Array;
    }
  | {
      readonly kind: "memberOpenMap";
      readonly member: number;
      readonly volume: number;
      readonly firstGranule: number;
      readonly bits: Uint8Array;
    }
  | { readonly kind: "memberOpenMapEnd"; readonly member: number }
  | { readonly kind: "synchronizedRecorded"; readonly member: number }
  | {
      readonly kind: "regionRead";
      readonly item: ResyncItem;
      readonly bytes: Uint8Array;
      readonly failure: IoFailure | undefined;
    }
  | { readonly kind: "probeAnswered"; readonly member: number; readonly roundTripMs: number }
  | { readonly kind: "suspend"; readonly why: string; readonly nowMs: number }
  | { readonly kind: "splitBrain"; readonly member: number; readonly why: string }
  | { readonly kind: "pause"; readonly member: number }
  | { readonly kind: "resume"; readonly member: number }
  | { readonly kind: "resyncFull"; readonly member: number }
  | { readonly kind: "repaired"; readonly volume: number }
  | { readonly kind: "syncLost"; readonly volume: number }
  | { readonly kind: "drain"; readonly next: "demote" | "stop" }
  | { readonly kind: "outranked"; readonly by: string };

export type PrimaryEffect =
  | { readonly kind: "read"; readonly request: HostRequest }
  | { readonly kind: "image"; readonly request: HostRequest }
  | { readonly kind: "reply"; readonly request: HostRequest; readonly outcome: HostOutcome }
  /** Ask for `turnEnd` once this turn's requests are all in. */
  | { readonly kind: "awaitTurnEnd" }
  /** Write the open maps' changed pages and sync them; then `openMapDurable`. */
  | { readonly kind: "syncOpenMaps"; readonly ticket: number }
  /** Write the open maps' changed pages; no sync, since only marks were taken away. */
  | { readonly kind: "writeOpenMaps" }
  | { readonly kind: "syncImage"; readonly volume: number; readonly ticket: number }
  /** Hand changed pages of a member's dirty maps to their files, before any reply that follows. */
  | { readonly kind: "writeDirtyMaps"; readonly member: number }
  /** Make files for the dirty maps named in the record; they are new. */
  | { readonly kind: "createDirtyMaps"; readonly member: number }
  | { readonly kind: "eraseDirtyMaps"; readonly member: number }
  /** Sync all dirty maps and their folder, then the record; then `recorded`. */
  | { readonly kind: "record"; readonly ticket: number }
  | {
      readonly kind: "sendWrite";
      readonly member: number;
      readonly request: HostRequest;
      readonly sequence: number;
    }
  | {
      readonly kind: "sendCompare";
      readonly item: ResyncItem;
      readonly bytes: Uint8Array;
      readonly sequence: number;
    }
  | {
      readonly kind: "sendRegion";
      readonly item: ResyncItem;
      readonly bytes: Uint8Array;
      readonly sequence: number;
    }
  | {
      readonly kind: "sendBegin";
      readonly member: number;
      readonly lsn: number;
      readonly resync: boolean;
    }
  | {
      readonly kind: "sendFlush";
      readonly member: number;
      readonly volume: number;
      readonly ticket: number;
    }
  | {
      readonly kind: "sendMemberMap";
      readonly member: number;
      readonly volume: number;
      readonly map: RegionMap;
    }
  | { readonly kind: "sendSynchronized"; readonly member: number; readonly lsn: number }
  | {
      readonly kind: "sendFractured";
      readonly member: number;
      readonly lsn: number;
      readonly why: string;
    }
  | { readonly kind: "closeSession"; readonly member: number; readonly why: string }
  | { readonly kind: "readRegion"; readonly item: ResyncItem }
  | { readonly kind: "event"; readonly event: Omit<EventRecord, "group"> }
  /** The group is no longer served here: fronts drop its connections. */
  | { readonly kind: "dropExports" }
  | { readonly kind: "served" }
  | EndedEffect;
