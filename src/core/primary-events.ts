import type { IoFailure } from "#base/errors.ts";
import type { EventRecord } from "#ports/events.ts";
import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import type { Entry } from "./entry.ts";
import type { GroupRecord } from "./group-record.ts";
import type { DiskRoom, Journal, JournalFigures } from "./journal.ts";
import type { LogPosition } from "./log-position.ts";
import type { MemberPolicy } from "./policy.ts";
import type { EndedEffect, MemberSets, ResyncItem } from "./primary-state.ts";
import type { Grown } from "./ranges.ts";
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
  /** The last set that is complete there, and its last LSN; 0 where there is none. */
  readonly completeSet: number;
  readonly completeLsn: number;
  /** A bunker ended that set, earlier perhaps than it ends here. */
  readonly wasReplayed?: boolean;
  /** Generations in whose favour its operator has given up what it wrote by itself. */
  readonly discards: readonly string[];
};

/** What a copy that takes sets has told of them. */
export type SetProgress = Pick<
  MemberSets,
  "completeSet" | "completeLsn" | "appliedSet" | "appliedLsn" | "syncedLsn" | "stampMs"
>;

/** What a primary is told of its group's new configuration. */
export type Reconfiguration = {
  readonly policies: readonly MemberPolicy[];
  readonly durability: "flush" | "write";
  /** Opened because a member is to take sets, and none did before. */
  readonly journal: Journal | undefined;
  /** How sets are sealed, and what a full journal does; undefined where no member takes sets any more. */
  readonly sets: Pick<Journal, "policy" | "overflow"> | undefined;
};

export type PrimaryEvent =
  | { readonly kind: "start" }
  | { readonly kind: "tick"; readonly nowMs: number; readonly wallMs: number }
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
  | {
      readonly kind: "appended";
      readonly requests: readonly HostRequest[];
      readonly bytesUsed: number;
      readonly firstSet: number;
      readonly disk?: DiskRoom | undefined;
      readonly sealedSet: number;
    }
  /** Image and record have so many bytes of the volume, and so has every copy. */
  | ({ readonly kind: "grown" } & Grown)
  /** A volume's device has flushed everything of it up to this LSN. */
  | { readonly kind: "deviceSynced"; readonly volume: number; readonly lsn: number }
  | { readonly kind: "journalSynced"; readonly volume: number; readonly ticket: number }
  | { readonly kind: "sealDue"; readonly set: number }
  | ({ readonly kind: "reclaimed" } & JournalFigures)
  /** What the member lacks cannot be read from the journal. */
  | { readonly kind: "journalUnreadable"; readonly member: number; readonly why: string }
  | { readonly kind: "begun"; readonly member: number }
  /** The member has given up what was not complete there, and goes on behind this set. */
  | {
      readonly kind: "purged";
      readonly member: number;
      readonly completeSet: number;
      readonly completeLsn: number;
      readonly entries: number;
    }
  /** Where the log of the member ends has been looked for in the journal. */
  | {
      readonly kind: "logLocated";
      readonly member: number;
      readonly epoch: number;
      readonly isFound: boolean;
    }
  /** The member has been sent all that the journal has, and has everything from this set on. */
  | { readonly kind: "logCaughtUp"; readonly member: number; readonly firstSet: number }
  /** The member has everything up to this entry in its log. */
  | { readonly kind: "logged"; readonly member: number; readonly through: LogPosition }
  /** The member's log is full. */
  | { readonly kind: "logOverflowed"; readonly member: number }
  | { readonly kind: "progress"; readonly member: number; readonly sets: SetProgress }
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
  /** What an inquiry says of its history: a member that no session reaches is shown as what it is. "": it is of ours. */
  | { readonly kind: "heardSplit"; readonly member: number; readonly why: string }
  | { readonly kind: "givenUp"; readonly member: number; readonly why: string }
  | { readonly kind: "pause"; readonly member: number }
  | { readonly kind: "resume"; readonly member: number }
  | { readonly kind: "resyncFull"; readonly member: number }
  | { readonly kind: "verify"; readonly member: number; readonly isRepairing: boolean }
  | { readonly kind: "repaired"; readonly volume: number }
  | { readonly kind: "syncLost"; readonly volume: number }
  | ({ readonly kind: "reconfigure" } & Reconfiguration)
  | { readonly kind: "drain"; readonly next: "demote" | "stop" }
  /** Hand the role to this member, or keep it when that takes too long; or take an offer back by force. */
  | { readonly kind: "handover"; readonly to: number; readonly timeoutMs: number }
  | { readonly kind: "offerRefused"; readonly ticket: number; readonly why: string }
  | { readonly kind: "offerUnanswered"; readonly ticket: number; readonly why: string }
  | { readonly kind: "keepRole"; readonly why: string }
  /** `successor`: the site whose generation follows ours, where that is known. */
  | { readonly kind: "outranked"; readonly by: string; readonly successor?: string };

/**
 * `taken`: the successor has the role. `kept`: it is here as before. `late`: kept, because the time for it was over. `gone`:
 * this site is no primary any more, and the successor was not seen to take over.
 */
export type HandoverEnd = {
  readonly outcome: "taken" | "kept" | "late" | "gone";
  readonly why: string;
};

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
  /** Append these entries to the journal as one batch; then `appended`. */
  | {
      readonly kind: "append";
      readonly entries: readonly Entry[];
      readonly requests: readonly HostRequest[];
    }
  /** Sync the journal; then `journalSynced`. */
  | { readonly kind: "syncJournal"; readonly volume: number; readonly ticket: number }
  /** Ask for `sealDue` after a while. */
  | { readonly kind: "awaitSeal"; readonly set: number; readonly afterMs: number }
  /**
   * The journal here need not keep its entries up to this LSN, and its sets up to this one. Copies that a relay feeds may need
   * what is behind `neededSet`.
   */
  | {
      readonly kind: "reclaim";
      readonly lsn: number;
      readonly set: number;
      readonly neededSet: number;
    }
  /** Say by `reclaimed` how much the journal has by now. */
  | { readonly kind: "weighJournal" }
  /** Feed the member from the journal, from this set on. */
  | { readonly kind: "sendSets"; readonly member: number; readonly fromSet: number }
  /** Look in the journal for the place where the member's log ends; then `logLocated`. */
  | { readonly kind: "locateLog"; readonly member: number }
  /** Feed the member the records of the journal from the place that was found, or from the first. */
  | { readonly kind: "sendLog"; readonly member: number }
  /** Nobody needs what is up to here any more: the member may let it go as well. */
  | {
      readonly kind: "sendReleased";
      readonly member: number;
      readonly lsn: number;
      readonly set: number;
    }
  /** Behind this word on the ordered connection, the set may be applied (SPEC-async.md, Resync). */
  | { readonly kind: "sendMark"; readonly member: number; readonly set: number }
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
      /** With sets: the first that the member will be sent after this; 0 for a mirror. */
      readonly firstSet: number;
      /** For a member that keeps the log: whether it begins anew, and what nobody needs any more. */
      readonly log?: {
        readonly anew: boolean;
        readonly releasedLsn: number;
        readonly releasedSet: number;
      };
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
  /** With sets: it holds once this set is applied; 0 for a mirror. */
  | {
      readonly kind: "sendSynchronized";
      readonly member: number;
      readonly lsn: number;
      readonly set: number;
    }
  | {
      readonly kind: "sendFractured";
      readonly member: number;
      readonly lsn: number;
      readonly why: string;
    }
  | { readonly kind: "closeSession"; readonly member: number; readonly why: string }
  /** Offer the role to the member, which has everything up to this LSN; then `outranked`, or what came of it instead. */
  | {
      readonly kind: "offerRole";
      readonly member: number;
      readonly ticket: number;
      readonly lsn: number;
    }
  | ({ readonly kind: "handoverEnded" } & HandoverEnd)
  | { readonly kind: "readRegion"; readonly item: ResyncItem }
  /** Nobody needs the journal any more: it goes, once the record names none. */
  | { readonly kind: "closeJournal" }
  /** The member has left the group: its session's place and its maps go. */
  | { readonly kind: "forgetMember"; readonly member: number; readonly site: string }
  | { readonly kind: "event"; readonly event: Omit<EventRecord, "group"> }
  /** The group is no longer served here: fronts drop its connections. */
  | { readonly kind: "dropExports" }
  | { readonly kind: "served" }
  | EndedEffect;
