import type { History } from "./history.ts";
import type { ImageState, Role } from "./states.ts";

/**
 * What a site must know of a group after any crash, in one document: `store/record-file.ts` keeps it. A machine changes
 * its own record and then asks for it to be made durable; nothing that rests on the change happens before `recorded`.
 */
export type GroupRecord = {
  readonly cluster: string;
  readonly group: string;
  readonly site: string;
  /** Drawn when the record was first made: tells a blank or foreign disk from the one we knew (row 53). */
  readonly replicaId: string;
  role: Role;
  history: History;
  /** Counts the starts of a primary (decision 5). */
  incarnation: number;
  /** Numbers below this may have been used, for LSNs or for sets; the next incarnation begins here. */
  lsnReserved: number;
  /**
   * At a primary with a journal: up to this LSN its tenure may have acked writes that the journal does not have, since there
   * was none then, or a power cut took them from it; as that start of it knew. Undefined where there is no journal.
   */
  unjournaled?: { readonly lsn: number; readonly incarnation: number };
  /** At a site that was the primary of that generation: it acked no write above this LSN. Undefined where that is unknown. */
  tenureEnd?: { readonly id: string; readonly lsn: number };
  /** Identity of the journal of this tenure, and of the staging log; undefined while there is none. */
  journalId?: number;
  stagingId?: number;
  /** With sets: the images here have everything up to this point, synced. */
  applied?: { readonly set: number; readonly lsn: number; readonly stampMs: number };
  /**
   * The settings of the group that hold at all its sites, as its primary last took them from a file; which revision they are.
   * Undefined before the first primary has started, or was heard.
   */
  configuration?: Configuration;
  /** At a bunker: the log that it keeps. */
  bunker?: BunkerRecord;
  /** At a copy that was brought up from a bunker, until it is promoted. No primary of its generation feeds it any more. */
  replayed?: ReplayedRecord;
  /** At a copy that an operator has paused: no replay to it begins by itself before a primary has fed it again. */
  heldBack?: true;
  bootId: string;
  /** The last stop left nothing unsynced and no request under way. */
  cleanStop: boolean;
  /** This site's image, as far as the site itself can know. */
  image: ImageState;
  /** Where the image was last made `synchronized`. */
  syncedAt: { readonly lsn: number; readonly generation: number } | undefined;
  /** The primary has told us that it went on without us, from which LSN, and why. */
  toldOfFracture: { readonly lsn: number; readonly why: string } | undefined;
  /**
   * Volumes with a failed sync since the image was last synchronized. At a primary: acked writes may be lost here that a copy
   * still has. At a copy: what the image reads may not be on the disk.
   */
  failedVolumes: string[];
  /** Identities of the open map of each volume, by the volume's index. */
  openMapIds: number[];
  volumes: readonly { readonly name: string; readonly bytes: number }[];
  regionBytes: number;
  /** What this site, as primary, knows of each other member, by site. */
  members: { [site: string]: MemberRecord };
  /** The state that the image here is taken back to if a resync never ends (decision 11); undefined while none is kept. */
  preservedPoint: PreservedPoint | undefined;
  /**
   * The image was taken back to this point, and no primary has made it whole since. Until one has, every primary is told what
   * is open here, also that of our own generation: it may have forgotten what was undone (trap 13).
   */
  reverted?: RevertedPoint;
  /**
   * At a primary: what is in the images, synced, by volume, and so is left out when a start writes into them what this journal
   * has. Noted where a full disk refused writes that the journal has (core/refused.ts).
   */
  redone?: { readonly journalId: number; readonly lsns: readonly number[] };
  /** At a primary: the role was offered to this site, or is about to be, and it has not said yet whether it took it. */
  handover?: { readonly to: string };
  /** The operator has given up what this site wrote by itself (U57); until a primary of the history that is kept feeds it. */
  discarding?: Discard;
  /** What the image was before that primary began to write to it, until the operator drops it (SPEC-branch.md). */
  branch?: Branch;
};

/** What a site wrote by itself since histories forked: at most this, since maps mark whole regions. */
export type Divergence = {
  readonly regions: number;
  readonly bytes: number;
  /** When it began to, by the wall clock there; undefined where nobody has noted it. */
  readonly sinceMs?: number;
};

export type Discard = {
  /** Ids of generations: a primary whose history has one of them may feed this site. */
  readonly favours: readonly string[];
  readonly wrote: Divergence;
};

/** The image, history and all, of a site whose writes were given up; kept like a preserved point, in a log of its own. */
export type Branch = PreservedPoint & {
  readonly history: History;
  readonly incarnation: number;
  /** Sites without whom it had acked writes (decision 9). */
  readonly aloneTowards: readonly string[];
  readonly wrote: Divergence;
};

/** The log of a bunker (SPEC-bunker.md). */
export type BunkerRecord = {
  /** Identity of the log. Another one begins anew. */
  readonly logId: number;
  /** When it was last told, it had everything that was acked. */
  readonly isWhole: boolean;
  /**
   * It feeds this copy as if it were the primary, and takes nothing from the generation that it holds any more
   * (decision 6).
   */
  readonly activatedFor?: string;
  /** An operator has called a replay off here: none begins by itself before a primary has fed this site again. */
  readonly isCalledOff?: true;
};

/** What a copy got from a bunker's log, after its primary was lost. */
export type ReplayedRecord = {
  readonly from: string;
  /** The last set, and its last LSN: what the copy had when the replay began, was stopped, or ended. */
  readonly set: number;
  readonly lsn: number;
  /** The end of the bunker's log. */
  readonly endLsn: number;
  /** The bunker had everything acked when it last heard of the primary. */
  readonly isWhole: boolean;
  /** It began by itself: cut short, it goes on by itself, too. What an operator has begun, or ended early, is left alone. */
  readonly isAutomatic?: true;
  /** The operator has called it off: the primary of its generation may feed this copy again. */
  readonly isCancelled?: true;
};

/** A state of the group's at one LSN: what the image held before a resync began to write to it. */
export type RevertedPoint = {
  readonly lsn: number;
  /** With sets: the last one; 0 for a mirror. */
  readonly set: number;
  /** The generation whose state it is. */
  readonly generation: number;
  /** With sets: when the last one was sealed, by the primary's wall clock; 0 for a mirror. */
  readonly stampMs: number;
  /** When the resync began, by the wall clock here. */
  readonly keptSinceMs: number;
};

/** `kept`: the old content of everything written since is in the preserve log. `undoing`: it is being written back. */
export type PreservedPoint = RevertedPoint & {
  /** Identity of the preserve log. */
  readonly id: number;
  readonly phase: "kept" | "undoing";
};

export type Configuration = {
  /** Counts the changes. */
  readonly revision: number;
  /** Equal where two sites mean the same, whatever their files look like. */
  readonly digest: string;
  /** site/settings.ts writes and reads it. */
  readonly settings: string;
  /** Digest of what this site's own file said when it was last looked at: so one that was edited since is known. */
  readonly file?: string;
};

/**
 * `blank`: never had a whole image. `dirty`: lacks what its dirty maps mark (fractured, paused, or being resynced).
 * `synchronized`: has everything; it has no dirty maps.
 */
export type MemberPhase = "blank" | "dirty" | "synchronized";

export type MemberRecord = {
  phase: MemberPhase;
  /** Since the member was lost, this primary has acked a write that the member lacks (decision 9). */
  alone: boolean;
  /**
   * As this primary was promoted, the member may have lacked what hosts were told by earlier ones, and has not been
   * whole since: to it, this site is as good as one that acked alone.
   */
  mayLackEarlier?: true;
  /** Since when it is `alone`, by the wall clock of this primary, for people only; of no account while it is not. */
  aloneSinceMs?: number;
  paused: boolean;
  /** The data the member had when we last spoke; undefined before the first time. */
  replicaId: string | undefined;
  /** Identity of the dirty map of each volume, by index; empty while there are none. */
  dirtyMapIds: number[];
  /** Highest LSN known synced at the member, over all volumes. */
  syncedLsn: number;
  /** The operator has confirmed that a disk we do not know may be filled. */
  fullConfirmed: boolean;
  /** Why the member is not fed and will not be until an operator acts, or "". */
  stoppedWhy: string;
  /** Both sides have acked writes that the other lacks (U57). */
  splitBrain: boolean;
};

export function blankMember(): MemberRecord {
  return {
    phase: "blank",
    alone: false,
    paused: false,
    replicaId: undefined,
    dirtyMapIds: [],
    syncedLsn: 0,
    fullConfirmed: false,
    stoppedWhy: "",
    splitBrain: false,
  };
}
