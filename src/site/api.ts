import type { ErrorCode } from "#base/errors.ts";
import type { HeldUp } from "#core/held-up.ts";
import type { CopyState, ImageState, LinkState, Role } from "#core/states.ts";

// What a running site can be asked and told. The control API, the CLI and the simulator's operator all speak this.

export { copyStates, imageStates, isPrimaryRole, linkStates, roles } from "#core/states.ts";
export type { HeldUp } from "#core/held-up.ts";
export type { CopyState, ImageState, LinkState, Role } from "#core/states.ts";

/** How `why` ends of a copy that answers, and waits for an operator before it is fed again. */
export const awaitsResumeWords = "its resume is manual: `antipode resume` feeds it again";

/** `antipode status --json` and GET /v1/status; the names are INTERFACE's and stay. */
export type SiteStatus = {
  readonly site: string;
  readonly version: string;
  readonly groups: readonly GroupStatus[];
};

export type GroupStatus = {
  readonly name: string;
  readonly role: Role;
  readonly generation: number;
  /** The site that this one holds for the primary. */
  readonly primary: string;
  readonly durability: "flush" | "write";
  /** Host requests are answered. False at a secondary and while the primary holds all I/O; `why` says what for. */
  readonly serving: boolean;
  /** This site is the primary, and cannot go on before it is started again: `why` says what for. */
  readonly hasFailed?: true;
  readonly why: string;
  /**
   * At a primary that serves, while hosts cannot write all the same: what for, of which `why` has the words. Absent where
   * they can; an older version never sends it, and who reads it knows no more of such a site than `why` says.
   */
  readonly writesHeldUp?: HeldUp;
  readonly lsn: number;
  readonly set: number;
  readonly volumes: readonly VolumeStatus[];
  readonly journal: {
    readonly bytesUsed: number;
    readonly bytesMax: number;
    readonly stalledWrites: number;
    /** Hosts are let in no faster than the copies drain the journal, lest it be full. */
    readonly isPacing: boolean;
    /** When it will be full if all goes on as of late; null: not at all. */
    readonly overflowSeconds: number | null;
    /** What the disk under it said when it had no more room, with the file; "" while it has. `bytesMax` is what it gives. */
    readonly diskFull?: string;
  };
  readonly copies: readonly CopyStatus[];
  /** The revision of the configuration that rules, 0 before there is one; and the sites whose files say something else. */
  readonly configuration: { readonly revision: number; readonly differing: readonly string[] };
  /** Open-map granules and host requests under way, for the curious and for tests. */
  readonly openGranules: number;
  readonly requestsInFlight: number;
  /** Sites with whom this one is in split brain: both have written what the other lacks. */
  readonly splits?: readonly SplitStatus[];
  /** At a copy that no primary feeds: who keeps the group's log, and could bring this copy up. */
  readonly bunkers?: readonly BunkerAtHand[];
  /** At a copy, while its primary is silent: whether a replay begins by itself. */
  readonly autoReplay?: AutoReplayStatus;
  /** At who is not the primary: what is wrong with it, as this site knows. */
  readonly primaryFailure?: PrimaryFailureStatus;
};

export type BunkerAtHand = {
  readonly site: string;
  readonly answers: boolean;
  /** Its log has been replayed here, to its end. */
  readonly isReplayed: boolean;
};

export type AutoReplayStatus = {
  /** The bunker. */
  readonly from: string;
  /** In how many seconds it begins, if all stays as it is; null: it does not. */
  readonly inSeconds: number | null;
  /** Why it does not; or why the last one came to nothing, or "". */
  readonly why: string;
};

export type PrimaryFailureStatus = {
  readonly site: string;
  /** What the inquiry of its node came to, where it does not answer. */
  readonly node?: string;
  /** It answers, and says that it cannot go on before it is started again. */
  readonly failed?: string;
  /** Its volumes that have failed. */
  readonly volumes: readonly string[];
};

export type SplitStatus = {
  readonly site: string;
  /** What was written by itself here, and there, as it says itself; `sinceMs`: ms since 1970, by the wall clock there. */
  readonly wroteHere: WroteStatus;
  readonly wroteThere?: WroteStatus;
};

/** At most: maps mark whole regions, and what was under way when the sites lost each other. */
export type WroteStatus = {
  readonly regions: number;
  readonly bytes: number;
  readonly sinceMs?: number;
};

export type VolumeStatus = {
  readonly name: string;
  readonly bytes: number;
  readonly state: "ok" | "failed" | "readonly";
  /** At the primary, of a volume on a device behind a link. */
  readonly device?: string;
  readonly link?: LinkState;
  /** Why the link is not up, or "". */
  readonly why?: string;
  /** What the device has not flushed, at most: the journal here has it. */
  readonly deviceLagBytes?: number;
  /** Where hosts reach it. The site knows no front: whoever runs one fills it in. */
  readonly uri: string;
};

export type CopyStatus = {
  readonly site: string;
  readonly mode: string;
  readonly state: CopyState;
  readonly image: ImageState;
  readonly received: number;
  readonly staged: number;
  readonly complete: number;
  readonly applied: number;
  readonly lagBytes: number;
  readonly lagWrites: number;
  /** It may lack writes of an earlier start or primary, which nobody has counted: `lagWrites` is what the bytes allow. */
  readonly isLagCounted?: false;
  readonly lagSeconds: number;
  readonly applyLagBytes: number;
  readonly applyLagWrites: number;
  /** Bytes of regions that the copy may lack. */
  readonly dirtyBytes: number;
  /** At a copy that takes sets: those that are not applied, with what has come of them (a few, the oldest first). */
  readonly sets: readonly SetStatus[];
  /** Bytes of regions sent and compared by resyncs since this process started. */
  readonly resyncSentBytes: number;
  readonly resyncComparedBytes: number;
  /** At the primary: the last walk that `verify` asked for, running or over. */
  readonly verify?: VerifyStatus;
  /** In a copy's own status: the state that it can be taken back to while a resync writes to its image. */
  readonly preserved?: PreservedStatus;
  /** In a copy's own status: what it was before it gave up what it wrote by itself, until the operator drops that. */
  readonly branch?: BranchStatus;
  /** The way to the other site: whether that answers, which is no word of a session. */
  readonly link: LinkState;
  /** In a copy's or a bunker's own status: its primary has a session with it. */
  readonly isFed?: boolean;
  /** At the primary: what the last probe of the site took, there and back; left out while none was ever answered. */
  readonly roundTripMs?: number;
  readonly why: string;
};

export type VerifyStatus = {
  readonly isRunning: boolean;
  /** Why it ended before it had seen everything, or "". */
  readonly why: string;
  readonly repairs: boolean;
  readonly totalBytes: number;
  readonly comparedBytes: number;
  readonly differingRegions: number;
  readonly differingBytes: number;
  /** Where they are: the first of them. */
  readonly ranges: readonly {
    readonly volume: string;
    readonly offset: number;
    readonly length: number;
  }[];
};

/** Wall clocks in ms since 1970: when the last set of the point was sealed (0 for a mirror), and since when it is kept. */
export type PreservedStatus = {
  readonly set: number;
  readonly lsn: number;
  readonly generation: number;
  readonly stampMs: number;
  readonly keptSinceMs: number;
  readonly phase: "kept" | "undoing";
  /** Of the preserve log. */
  readonly bytesUsed: number;
  readonly bytesMax: number;
};

export type BranchStatus = PreservedStatus & { readonly wrote: WroteStatus };

/** A set on its way into a copy. `expected` is known once its SEAL has come. */
export type SetStatus = {
  readonly set: number;
  readonly received: number;
  readonly expected: number | undefined;
  readonly phase: string;
};

/** A command to a site, about one group. */
export type SiteCommand =
  | { readonly kind: "pause"; readonly group: string; readonly copy: string }
  | { readonly kind: "resume"; readonly group: string; readonly copy: string }
  | {
      readonly kind: "resync";
      readonly group: string;
      readonly copy: string;
      readonly full: boolean;
    }
  | { readonly kind: "repair"; readonly group: string; readonly volume: string }
  /** Compares a copy's image with the primary's, while hosts write; its status tells how far it is. */
  | {
      readonly kind: "verify";
      readonly group: string;
      readonly copy: string;
      readonly repair: boolean;
    }
  | {
      readonly kind: "promote";
      readonly group: string;
      readonly force: boolean;
      readonly dryRun: boolean;
    }
  | { readonly kind: "demote"; readonly group: string; readonly dryRun: boolean }
  /** Hands the role to a copy; hosts wait meanwhile, at most so long. */
  | {
      readonly kind: "switchover";
      readonly group: string;
      readonly to: string;
      readonly timeoutMs: number;
      readonly dryRun: boolean;
    }
  /** The way out of a split brain, at the site whose own writes are given up (U57). */
  | {
      readonly kind: "discard";
      readonly group: string;
      readonly what: "give-up" | "undo" | "drop-branch";
      readonly force: boolean;
      readonly dryRun: boolean;
    }
  /** At a copy: brings it up from a bunker's log, up to an LSN, or for so long; or calls that off for the old primary. */
  | {
      readonly kind: "replay";
      readonly group: string;
      /** The bunker; or the path on which this site reaches the group's second log. */
      readonly from: string;
      readonly until?: number | undefined;
      readonly stopAfterMs?: number | undefined;
      readonly cancel?: boolean | undefined;
      /** With `cancel`: also for another copy, which does not answer. */
      readonly force?: boolean | undefined;
      readonly dryRun: boolean;
    }
  /** Makes a volume larger, at every copy and then at the primary. */
  | {
      readonly kind: "resize";
      readonly group: string;
      readonly volume: string;
      readonly bytes: number;
      readonly dryRun: boolean;
    }
  /** Takes the changes of this site's file. */
  | { readonly kind: "reload"; readonly group: string; readonly dryRun: boolean };

/** How a command ended. `plan` lists in plain sentences what was (or would be) done and what it costs. */
export type CommandOutcome =
  | { readonly ok: true; readonly plan: readonly string[] }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | undefined;
      readonly plan: readonly string[];
    };
