import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isCount, isObject, isText } from "./handshake.ts";

// The JSON documents of sessions, and of what else a connection is opened for (an inquiry's are in probe.ts). Each
// parser takes what a peer sent and gives the document, or which rule it breaks. Unknown fields are left alone, so that
// a later version may add some.

export type WireGeneration = {
  readonly counter: number;
  readonly id: string;
  readonly site: string;
  /** When it began, by the wall clock of its site. */
  readonly atMs?: number;
  /** Everything that the generation before it acked up to this LSN is in it. */
  readonly heldLsn?: number;
  /** It began with a whole image. */
  readonly isWhole?: true;
};

/** OPEN of a session: a primary asks a copy to take its writes. */
export type SessionOpen = {
  readonly purpose: "session";
  readonly group: string;
  readonly volumes: readonly { readonly name: string; readonly bytes: number }[];
  readonly regionBytes: number;
  readonly history: readonly WireGeneration[];
  readonly incarnation: number;
  readonly epoch: number;
  readonly lsn: number;
  /** What the copy will be fed with: its staging must be there for sets, and out of the way for writes. */
  readonly unit?: FeedUnit;
};

export type FeedUnit = "write" | "set" | "record";

/** OPEN of one more connection of a session that takes sets: any of them may bring any batch. */
export type LaneOpen = {
  readonly purpose: "lane";
  readonly group: string;
  readonly generation: number;
  /** Epochs begin anew with each: one that was dialled for a session of the last is none of this one's. */
  readonly incarnation: number;
  readonly epoch: number;
  readonly lane: number;
};

/**
 * OPEN of a handover: a primary offers its role to the copy that it feeds in this session, which has everything up to `lsn`;
 * or asks only whether it would take it. Answered by OPENED once the copy is the primary, on its disk, or would be; by REFUSED
 * when it is not. A copy takes it in the very session that it names, and in no later one.
 */
export type HandoverOpen = {
  readonly purpose: "handover";
  readonly group: string;
  readonly isOffer: boolean;
  readonly generation: number;
  readonly incarnation: number;
  readonly epoch: number;
  readonly lsn: number;
  readonly lsnReserved: number;
  readonly stableLsn: number;
};

export type InquiryOpen = { readonly purpose: "inquiry" };

/** OPEN of a replay: a copy whose primary is lost asks a bunker for what it lacks. */
export type ReplayOpen = {
  readonly purpose: "replay";
  readonly group: string;
  readonly volumes: SessionOpen["volumes"];
  readonly regionBytes: number;
  readonly history: readonly WireGeneration[];
  readonly incarnation: number;
  /** The last set that is complete at the copy. */
  readonly completeSet: number;
  /** The last LSN of that set, as the copy has it. */
  readonly completeLsn?: number;
  /** No set that has an LSN above this one; null: everything. */
  readonly untilLsn: number | null;
  /** Otherwise it only wants to know what there is. */
  readonly isWanted: boolean;
  /** Nobody has asked for it: it may begin only where the bunker has had no sign of the primary for so long. */
  readonly automaticAfterMs?: number;
  /** It wants nothing more: the bunker takes what the primary of this generation sends again. */
  readonly isCancelled?: true;
  /** By force, also where another copy asked for it, unless that is among these sites, which answer the asker. */
  readonly reached?: readonly string[];
};

/** OPENED of a replay: what there is for the copy. The bunker is about to send it. */
export type ReplayOpened = {
  readonly history: readonly WireGeneration[];
  readonly epoch: number;
  readonly isWhole: boolean;
  /** What the log has behind the copy's last set; and as much of it as is sent. */
  readonly has: ReplayRange;
  readonly sends: ReplayRange;
};

export type ReplayRange = {
  /** Where it ends; 0 and 0 where it has nothing. */
  readonly set: number;
  readonly lsn: number;
  readonly writes: number;
  readonly bytes: number;
};

/** OPEN of a primary that lost power: it asks its bunker for what follows the end of its own journal (decision 5). */
export type TakeBackOpen = {
  readonly purpose: "takeBack";
  readonly group: string;
  readonly history: readonly WireGeneration[];
  readonly end: WirePosition;
};

/**
 * OPEN of a growth: the primary asks a copy to make a volume larger, image and record, or only whether it could. Answered by
 * OPENED once that is on the copy's disk, or could be; by REFUSED when it is not: `busy` where asking again may help.
 */
export type GrowOpen = {
  readonly purpose: "grow";
  readonly group: string;
  readonly history: readonly WireGeneration[];
  readonly incarnation: number;
  readonly volume: string;
  readonly bytes: number;
  /** Otherwise it is only asked whether it could. */
  readonly isWanted: boolean;
};

export type PeerOpen =
  | SessionOpen
  | LaneOpen
  | HandoverOpen
  | ReplayOpen
  | TakeBackOpen
  | GrowOpen
  | InquiryOpen;

/** OPENED of a session: the copy says who it is and what it has. Its open map follows where the generations differ. */
export type SessionOpened = {
  readonly replicaId: string;
  readonly history: readonly WireGeneration[];
  readonly role: string;
  readonly image: string;
  /** It never held a whole image. */
  readonly isBlank: boolean;
  /** A sync failed there: what its image reads may not be on its disk, so comparing proves nothing. */
  readonly mustRewrite: boolean;
  /** Sites without whom it acked writes when it was primary. */
  readonly aloneTowards: readonly string[];
  readonly receivedLsn: number;
  readonly appliedLsn: number;
  /** With sets: the last that is complete there and its last LSN; 0 where there is none. */
  readonly completeSet: number;
  readonly completeLsn: number;
  /** Place of the preserved point; null while none is kept. */
  readonly preservedPoint: null;
  /** Packings of batches that it understands. */
  readonly unpacks?: readonly string[];
  /** Ids of generations in whose favour its operator has given up what it wrote by itself (U57). */
  readonly discards?: readonly string[];
  /** Of a site that keeps the log: the last entry that it has; all 0 where it has none. */
  readonly logEnd?: WirePosition;
  /** It has everything from this set on. */
  readonly logFirstSet?: number;
  /** A bunker ended its last set since this generation's primary fed it last. */
  readonly wasReplayed?: true;
};

/** An entry's place in a group's log, and the start of a primary that gave it. */
export type WirePosition = {
  readonly incarnation: number;
  readonly lsn: number;
  readonly set: number;
  readonly index: number;
};

/** REFUSED, also in the handshake. `code` is for the machine, `why` for people. */
export type PeerRefusal = {
  readonly code:
    | "higher-generation"
    | "diverged"
    | "stale"
    | "not-a-copy"
    | "busy"
    | "handshake"
    /** A bunker, or a copy that was brought up from one: nothing of this generation is taken any more (decision 6). */
    | "activated"
    /** What a bunker has is not what the copy lacks. */
    | "unfit";
  readonly why: string;
  readonly history: readonly WireGeneration[];
};

/** BEGIN: the primary has on record what the copy lacks, and feeds it from here on. */
export type SessionBegin = {
  readonly history: readonly WireGeneration[];
  readonly incarnation: number;
  readonly lsn: number;
  /** LSNs below this may have been used: a copy that is promoted begins above. */
  readonly lsnReserved: number;
  readonly resync: boolean;
  /** With sets: the first that follows; 0 for a mirror. */
  readonly firstSet: number;
  /** From a bunker: what is not complete here is sent anew, and ends where the log of the bunker does. */
  readonly isReplay?: true;
  /** What is not complete there is to be given up, durably; PURGED says so before BEGUN (A3). */
  readonly purge?: true;
  /** To a site that keeps the log: whether it begins anew, with what comes next; and what nobody needs any more. */
  readonly log?: LogBegin;
};

export type LogBegin = {
  readonly anew: boolean;
  readonly releasedLsn: number;
  readonly releasedSet: number;
};

export function parseOpen(value: unknown): Result<PeerOpen> {
  if (!isObject(value)) return wrong("OPEN is no document");
  if (value["purpose"] === "inquiry") return { ok: true, value: { purpose: "inquiry" } };
  if (value["purpose"] === "lane") return parseLane(value);
  if (value["purpose"] === "handover") return parseHandover(value);
  if (value["purpose"] === "replay") return parseReplay(value);
  if (value["purpose"] === "takeBack") return parseTakeBack(value);
  if (value["purpose"] === "grow") return parseGrow(value);
  if (value["purpose"] !== "session") return wrong("OPEN names a purpose that we do not know");
  const { group, volumes, regionBytes, history, incarnation, epoch, lsn, unit } = value;
  if (!isText(group) || !isCount(regionBytes) || !isCount(incarnation) || !isCount(lsn)) {
    return wrong("OPEN is incomplete");
  }
  if (!isCount(epoch) || epoch > 0xffff_ffff) return wrong("OPEN names no epoch");
  if (!Array.isArray(volumes) || !volumes.every(isVolume)) return wrong("OPEN names no volumes");
  if (!isHistory(history)) return wrong("OPEN carries no history");
  if (unit !== undefined && unit !== "write" && unit !== "set" && unit !== "record")
    return wrong("OPEN names a unit that we do not know");
  const open = { group, volumes, regionBytes, history, incarnation, epoch, lsn };
  return {
    ok: true,
    value: { purpose: "session", ...open, ...(unit === undefined ? {} : { unit }) },
  };
}

function parseLane(value: Record<string, unknown>): Result<LaneOpen> {
  const { group, generation, incarnation, epoch, lane } = value;
  if (!isText(group) || !isCount(generation) || !isCount(incarnation))
    return wrong("OPEN of a lane is incomplete");
  if (!isCount(epoch) || !isCount(lane)) return wrong("OPEN of a lane is incomplete");
  return { ok: true, value: { purpose: "lane", group, generation, incarnation, epoch, lane } };
}

function parseHandover(value: Record<string, unknown>): Result<HandoverOpen> {
  const { group, isOffer, generation, incarnation, epoch, lsn, lsnReserved, stableLsn } = value;
  if (
    !isText(group) ||
    typeof isOffer !== "boolean" ||
    !isCount(generation) ||
    !isCount(incarnation)
  )
    return wrong("OPEN of a handover is incomplete");
  if (!isCount(epoch) || !isCount(lsn) || !isCount(lsnReserved) || !isCount(stableLsn))
    return wrong("OPEN of a handover is incomplete");
  const session = { generation, incarnation, epoch };
  return {
    ok: true,
    value: { purpose: "handover", group, isOffer, ...session, lsn, lsnReserved, stableLsn },
  };
}

function parseTakeBack(value: Record<string, unknown>): Result<TakeBackOpen> {
  const { group, history, end } = value;
  if (!isText(group) || !isPosition(end)) return wrong("OPEN of a taking back is incomplete");
  if (!isHistory(history)) return wrong("OPEN carries no history");
  return { ok: true, value: { purpose: "takeBack", group, history, end } };
}

function parseGrow(value: Record<string, unknown>): Result<GrowOpen> {
  const { group, history, incarnation, volume, bytes, isWanted } = value;
  if (!isText(group) || !isText(volume) || !isCount(incarnation))
    return wrong("OPEN of a growth is incomplete");
  if (!isSize(bytes)) return wrong("OPEN of a growth names a size that no volume has");
  if (!isHistory(history)) return wrong("OPEN carries no history");
  if (typeof isWanted !== "boolean") return wrong("OPEN of a growth is incomplete");
  const asked = { group, history, incarnation, volume, bytes, isWanted };
  return { ok: true, value: { purpose: "grow", ...asked } };
}

function parseReplay(value: Record<string, unknown>): Result<ReplayOpen> {
  const { group, volumes, regionBytes, history, incarnation } = value;
  const { completeSet, completeLsn, untilLsn, isWanted, isCancelled, reached } = value;
  const { automaticAfterMs } = value;
  if (!isText(group) || !isCount(regionBytes) || !isCount(incarnation) || !isCount(completeSet))
    return wrong("OPEN of a replay is incomplete");
  if (!Array.isArray(volumes) || !volumes.every(isVolume)) return wrong("OPEN names no volumes");
  if (!isHistory(history)) return wrong("OPEN carries no history");
  if (untilLsn !== null && !isCount(untilLsn)) return wrong("OPEN of a replay names no end");
  if (typeof isWanted !== "boolean") return wrong("OPEN of a replay is incomplete");
  if (isCancelled !== undefined && isCancelled !== true)
    return wrong("OPEN of a replay is unclear");
  if (completeLsn !== undefined && !isCount(completeLsn))
    return wrong("OPEN of a replay is unclear");
  if (reached !== undefined && !isTexts(reached)) return wrong("OPEN of a replay is unclear");
  if (automaticAfterMs !== undefined && !isCount(automaticAfterMs))
    return wrong("OPEN of a replay is unclear");
  const known = { group, volumes, regionBytes, history, incarnation, completeSet };
  const words = {
    ...(isCancelled === true ? { isCancelled: true as const } : {}),
    ...(reached === undefined ? {} : { reached }),
    ...(automaticAfterMs === undefined ? {} : { automaticAfterMs }),
    ...(completeLsn === undefined ? {} : { completeLsn }),
  };
  return { ok: true, value: { purpose: "replay", ...known, ...words, untilLsn, isWanted } };
}

export function parseReplayOpened(value: unknown): Result<ReplayOpened> {
  if (!isObject(value)) return wrong("OPENED of a replay is no document");
  const { history, epoch, isWhole, has, sends } = value;
  if (!isHistory(history) || !isCount(epoch) || typeof isWhole !== "boolean")
    return wrong("OPENED of a replay is incomplete");
  if (!isRange(has) || !isRange(sends)) return wrong("OPENED of a replay says not what there is");
  return { ok: true, value: { history, epoch, isWhole, has, sends } };
}

function isRange(value: unknown): value is ReplayRange {
  if (!isObject(value)) return false;
  return ["set", "lsn", "writes", "bytes"].every((field) => isCount(value[field]));
}

export function parseOpened(value: unknown): Result<SessionOpened> {
  if (!isObject(value)) return wrong("OPENED is no document");
  const { replicaId, history, role, image, isBlank, mustRewrite } = value;
  const { aloneTowards, receivedLsn, appliedLsn, completeSet, completeLsn } = value;
  if (!isCount(completeSet) || !isCount(completeLsn)) return wrong("OPENED is incomplete");
  if (typeof mustRewrite !== "boolean") return wrong("OPENED is incomplete");
  if (!isText(replicaId) || !isText(role) || !isText(image) || typeof isBlank !== "boolean") {
    return wrong("OPENED is incomplete");
  }
  if (!isHistory(history) || !isCount(receivedLsn) || !isCount(appliedLsn)) {
    return wrong("OPENED is incomplete");
  }
  if (!Array.isArray(aloneTowards) || !aloneTowards.every(isText)) {
    return wrong("OPENED is incomplete");
  }
  const { unpacks, discards } = value;
  if (discards !== undefined && !isTexts(discards))
    return wrong("OPENED says in no way of ours what is given up");
  if (unpacks !== undefined && !isTexts(unpacks))
    return wrong("OPENED says in no way of ours what the copy unpacks");
  const { logEnd, logFirstSet, wasReplayed } = value;
  if (logFirstSet !== undefined && !isCount(logFirstSet))
    return wrong("OPENED says in no way of ours where its log begins");
  if (wasReplayed !== undefined && wasReplayed !== true) return wrong("OPENED is unclear");
  if (logEnd !== undefined && !isPosition(logEnd)) return wrong("OPENED names no end of its log");
  const preservedPoint = null;
  return {
    ok: true,
    value: {
      replicaId,
      history,
      role,
      image,
      isBlank,
      mustRewrite,
      aloneTowards,
      receivedLsn,
      appliedLsn,
      completeSet,
      completeLsn,
      preservedPoint,
      ...(unpacks === undefined ? {} : { unpacks }),
      ...(discards === undefined ? {} : { discards }),
      ...(logEnd === undefined ? {} : { logEnd }),
      ...(logFirstSet === undefined ? {} : { logFirstSet }),
      ...(wasReplayed === true ? { wasReplayed } : {}),
    },
  };
}

const refusalCodes: ReadonlySet<unknown> = new Set<PeerRefusal["code"]>([
  "higher-generation",
  "diverged",
  "stale",
  "not-a-copy",
  "busy",
  "handshake",
  "activated",
  "unfit",
]);

export function parseRefusal(value: unknown): Result<PeerRefusal> {
  if (!isObject(value) || !refusalCodes.has(value["code"])) return wrong("REFUSED gives no reason");
  const { code, why, history } = value;
  if (typeof why !== "string" || why.length > 4096) return wrong("REFUSED gives no reason");
  return {
    ok: true,
    value: { code: code as PeerRefusal["code"], why, history: isHistory(history) ? history : [] },
  };
}

export function parseBegin(value: unknown): Result<SessionBegin> {
  if (!isObject(value)) return wrong("BEGIN is no document");
  const { history, incarnation, lsn, lsnReserved, resync, firstSet } = value;
  if (!isHistory(history) || !isCount(incarnation)) return wrong("BEGIN is incomplete");
  if (!isCount(lsn) || !isCount(lsnReserved)) return wrong("BEGIN names no LSNs");
  if (typeof resync !== "boolean" || !isCount(firstSet)) return wrong("BEGIN is incomplete");
  const { log } = value;
  if (log !== undefined && !isLogBegin(log)) return wrong("BEGIN says nothing sound of the log");
  const begin = { history, incarnation, lsn, lsnReserved, resync, firstSet };
  const { isReplay } = value;
  if (isReplay !== undefined && isReplay !== true)
    return wrong("BEGIN says nothing sound of a replay");
  const { purge } = value;
  if (purge !== undefined && purge !== true) return wrong("BEGIN says nothing sound of a purge");
  return {
    ok: true,
    value: {
      ...begin,
      ...(log === undefined ? {} : { log }),
      ...(isReplay === undefined ? {} : { isReplay }),
      ...(purge === undefined ? {} : { purge }),
    },
  };
}

function isLogBegin(value: unknown): value is LogBegin {
  if (!isObject(value) || typeof value["anew"] !== "boolean") return false;
  return isCount(value["releasedLsn"]) && isCount(value["releasedSet"]);
}

function isPosition(value: unknown): value is WirePosition {
  if (!isObject(value)) return false;
  return ["incarnation", "lsn", "set", "index"].every((field) => isCount(value[field]));
}

export function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

function isVolume(value: unknown): value is { name: string; bytes: number } {
  return isObject(value) && isText(value["name"]) && isSize(value["bytes"]);
}

// What a copy grows to, and beyond which it holds zeros: a size that no volume can have would ruin it for good.
function isSize(bytes: unknown): bytes is number {
  if (!isCount(bytes) || bytes === 0) return false;
  return bytes <= limits.volumeBytesMax && bytes % limits.sectorBytes === 0;
}

export function isHistory(value: unknown): value is WireGeneration[] {
  if (!Array.isArray(value) || value.length > limits.generationsMax) return false;
  return value.every(
    (entry) =>
      isObject(entry) &&
      isCount(entry["counter"]) &&
      isName(entry["id"]) &&
      isName(entry["site"]) &&
      (entry["atMs"] === undefined || isCount(entry["atMs"])) &&
      (entry["heldLsn"] === undefined || isCount(entry["heldLsn"])) &&
      (entry["isWhole"] === undefined || entry["isWhole"] === true),
  );
}

function isName(value: unknown): boolean {
  return isText(value) && value.length <= limits.nameBytesMax;
}
