import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isCount, isObject, isText } from "./handshake.ts";

// The JSON documents of sessions and inquiries. Each parser takes what a peer sent and gives the document, or which
// rule it breaks. Unknown fields are left alone, so that a later version may add some.

export type WireGeneration = {
  readonly counter: number;
  readonly id: string;
  readonly site: string;
  /** When it began, by the wall clock of its site. */
  readonly atMs?: number;
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

export type FeedUnit = "write" | "set";

/** OPEN of one more connection of a session that takes sets: any of them may bring any batch. */
export type LaneOpen = {
  readonly purpose: "lane";
  readonly group: string;
  readonly generation: number;
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

export type PeerOpen = SessionOpen | LaneOpen | HandoverOpen | InquiryOpen;

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
};

/** REFUSED, also in the handshake. `code` is for the machine, `why` for people. */
export type PeerRefusal = {
  readonly code: "higher-generation" | "diverged" | "stale" | "not-a-copy" | "busy" | "handshake";
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
};

/** What a site says of a group in a probe and in its answer. */
export type GroupView = {
  readonly group: string;
  readonly role: string;
  readonly history: readonly WireGeneration[];
  readonly image: string;
  readonly lsn: number;
  readonly lsnReserved: number;
  readonly set: number;
  /** Lowest LSN synced at all members (primary only). */
  readonly stableLsn: number;
  /** Members that the primary has gone on without, and why. */
  readonly fractured: Readonly<Record<string, string>>;
  /** The sender's wall clock, for people only (U58). */
  readonly wallMs: number;
  /** The configuration that it goes by, and what its own file says. */
  readonly configuration?: ConfigurationView;
  /** To a site with another branch of the history: what the sender wrote by itself, at most. */
  readonly wrote?: WroteView;
  /** See `SessionOpened`. */
  readonly discards?: readonly string[];
};

export type WroteView = {
  readonly regions: number;
  readonly bytes: number;
  readonly sinceMs?: number;
};

export type ConfigurationView = {
  readonly revision: number;
  readonly digest: string;
  /** Digest of the sender's own file. */
  readonly file: string;
  /** The settings themselves, from the primary to a site that has others. */
  readonly settings?: string;
};

export type Probe = { readonly id: number; readonly views: readonly GroupView[] };

export function parseOpen(value: unknown): Result<PeerOpen> {
  if (!isObject(value)) return wrong("OPEN is no document");
  if (value["purpose"] === "inquiry") return { ok: true, value: { purpose: "inquiry" } };
  if (value["purpose"] === "lane") return parseLane(value);
  if (value["purpose"] === "handover") return parseHandover(value);
  if (value["purpose"] !== "session") return wrong("OPEN names a purpose that we do not know");
  const { group, volumes, regionBytes, history, incarnation, epoch, lsn, unit } = value;
  if (!isText(group) || !isCount(regionBytes) || !isCount(incarnation) || !isCount(lsn)) {
    return wrong("OPEN is incomplete");
  }
  if (!isCount(epoch) || epoch > 0xffff_ffff) return wrong("OPEN names no epoch");
  if (!Array.isArray(volumes) || !volumes.every(isVolume)) return wrong("OPEN names no volumes");
  if (!isHistory(history)) return wrong("OPEN carries no history");
  if (unit !== undefined && unit !== "write" && unit !== "set")
    return wrong("OPEN names a unit that we do not know");
  const open = { group, volumes, regionBytes, history, incarnation, epoch, lsn };
  return {
    ok: true,
    value: { purpose: "session", ...open, ...(unit === undefined ? {} : { unit }) },
  };
}

function parseLane(value: Record<string, unknown>): Result<LaneOpen> {
  const { group, generation, epoch, lane } = value;
  if (!isText(group) || !isCount(generation) || !isCount(epoch) || !isCount(lane))
    return wrong("OPEN of a lane is incomplete");
  return { ok: true, value: { purpose: "lane", group, generation, epoch, lane } };
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
  return { ok: true, value: { history, incarnation, lsn, lsnReserved, resync, firstSet } };
}

export function parseProbe(value: unknown): Result<Probe> {
  if (!isObject(value) || !isCount(value["id"]) || !Array.isArray(value["views"])) {
    return wrong("a probe is incomplete");
  }
  const views: GroupView[] = [];
  for (const candidate of value["views"]) {
    const view = parseView(candidate);
    if (view === undefined) return wrong("a probe's view of a group is incomplete");
    views.push(view);
  }
  return { ok: true, value: { id: value["id"], views } };
}

function parseView(value: unknown): GroupView | undefined {
  if (!isObject(value)) return undefined;
  const { group, role, history, image, lsn, lsnReserved, set } = value;
  const { stableLsn, fractured, wallMs } = value;
  if (!isText(group) || !isText(role) || !isText(image) || !isHistory(history)) return undefined;
  if (
    !isCount(lsn) ||
    !isCount(lsnReserved) ||
    !isCount(set) ||
    !isCount(stableLsn) ||
    typeof wallMs !== "number"
  ) {
    return undefined;
  }
  if (!isObject(fractured) || !Object.values(fractured).every(isText)) return undefined;
  const reasons = fractured as Record<string, string>;
  const position = { lsn, lsnReserved, set, stableLsn };
  const told = { group, role, history, image, ...position, fractured: reasons, wallMs };
  const { configuration, wrote, discards } = value;
  if (configuration !== undefined && !isConfiguration(configuration)) return undefined;
  if (wrote !== undefined && !isWrote(wrote)) return undefined;
  if (discards !== undefined && !isTexts(discards)) return undefined;
  return {
    ...told,
    ...(configuration === undefined ? {} : { configuration }),
    ...(wrote === undefined ? {} : { wrote }),
    ...(discards === undefined ? {} : { discards }),
  };
}

function isWrote(value: unknown): value is WroteView {
  if (!isObject(value)) return false;
  const { regions, bytes, sinceMs } = value;
  return isCount(regions) && isCount(bytes) && (sinceMs === undefined || isCount(sinceMs));
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

function isConfiguration(value: unknown): value is ConfigurationView {
  if (!isObject(value)) return false;
  const { revision, digest, file, settings } = value;
  if (!isCount(revision) || !isText(digest) || !isText(file)) return false;
  return settings === undefined || typeof settings === "string";
}

function isVolume(value: unknown): value is { name: string; bytes: number } {
  return isObject(value) && isText(value["name"]) && isCount(value["bytes"]);
}

function isHistory(value: unknown): value is WireGeneration[] {
  if (!Array.isArray(value) || value.length > limits.generationsMax) return false;
  return value.every(
    (entry) =>
      isObject(entry) &&
      isCount(entry["counter"]) &&
      isName(entry["id"]) &&
      isName(entry["site"]) &&
      (entry["atMs"] === undefined || isCount(entry["atMs"])),
  );
}

function isName(value: unknown): boolean {
  return isText(value) && value.length <= limits.nameBytesMax;
}

function wrong(error: string): { readonly ok: false; readonly error: string } {
  return { ok: false, error };
}
