import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import { isHistory, isTexts } from "./documents.ts";
import type { WireGeneration } from "./documents.ts";
import { isCount, isObject, isText } from "./handshake.ts";

// The JSON documents of an inquiry: what a site says of each group that it shares with another, in a probe and in its answer.
// Unknown fields are left alone, so that a later version may add some.

/** What a site says of a group in a probe and in its answer. */
export type GroupView = {
  readonly group: string;
  readonly role: string;
  readonly history: readonly WireGeneration[];
  readonly image: string;
  readonly lsn: number;
  readonly lsnReserved: number;
  /** The set that is open (primary only, and where it has any; 0 otherwise). */
  readonly set: number;
  /** Of a primary, to a member: bytes that it may lack of what was written up to `lsn`, at most. */
  readonly lackedBytes?: number;
  /** The same in writes: LSNs do not tell it, for a start leaves some out. */
  readonly lackedWrites?: number;
  /** Synced at all members, and closed in the primary's open map: up to here copies close granules of theirs (primary only). */
  readonly stableLsn: number;
  /** Members that the primary has gone on without, and why. */
  readonly fractured: Readonly<Record<string, string>>;
  /** Whoever is not the primary: for how long it has had no sign of it, in ms; 0 while it has one (U32). */
  readonly primarySilentMs?: number;
  /** Members that an operator has paused (primary only). */
  readonly paused?: readonly string[];
  /** Of a bunker: what has become of its log. */
  readonly log?: LogView;
  /** Its volumes that take no more writes (primary only). */
  readonly failedVolumes?: readonly string[];
  /** Why it cannot go on before it is started again, cut short (primary only). */
  readonly failed?: string;
  /** The sender's wall clock, for people only (U58). */
  readonly wallMs: number;
  /** The configuration that it goes by, and what its own file says. */
  readonly configuration?: ConfigurationView;
  /** To a site with another branch of the history: what the sender wrote by itself, at most. */
  readonly wrote?: WroteView;
  /** See `SessionOpened`. */
  readonly discards?: readonly string[];
};

/** The copy that a bunker's log was activated for; that an operator has called a replay from it off. */
export type LogView = { readonly activatedFor?: string; readonly isCalledOff?: true };

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
  const { configuration, wrote, discards, failedVolumes, failed } = value;
  const { primarySilentMs, paused, log, lackedBytes, lackedWrites } = value;
  if (lackedBytes !== undefined && !isCount(lackedBytes)) return undefined;
  if (lackedWrites !== undefined && !isCount(lackedWrites)) return undefined;
  if (primarySilentMs !== undefined && !isCount(primarySilentMs)) return undefined;
  if (paused !== undefined && !isTexts(paused)) return undefined;
  if (log !== undefined && !isLog(log)) return undefined;
  if (configuration !== undefined && !isConfiguration(configuration)) return undefined;
  if (wrote !== undefined && !isWrote(wrote)) return undefined;
  if (discards !== undefined && !isTexts(discards)) return undefined;
  if (failedVolumes !== undefined && !isTexts(failedVolumes)) return undefined;
  if (failed !== undefined && !isText(failed)) return undefined;
  return {
    ...told,
    ...(lackedBytes === undefined ? {} : { lackedBytes }),
    ...(lackedWrites === undefined ? {} : { lackedWrites }),
    ...(primarySilentMs === undefined ? {} : { primarySilentMs }),
    ...(paused === undefined ? {} : { paused }),
    ...(log === undefined ? {} : { log }),
    ...(failedVolumes === undefined ? {} : { failedVolumes }),
    ...(failed === undefined ? {} : { failed }),
    ...(configuration === undefined ? {} : { configuration }),
    ...(wrote === undefined ? {} : { wrote }),
    ...(discards === undefined ? {} : { discards }),
  };
}

function isLog(value: unknown): value is LogView {
  if (!isObject(value)) return false;
  const { activatedFor, isCalledOff } = value;
  if (activatedFor !== undefined && !isText(activatedFor)) return false;
  return isCalledOff === undefined || isCalledOff === true;
}

function isWrote(value: unknown): value is WroteView {
  if (!isObject(value)) return false;
  const { regions, bytes, sinceMs } = value;
  return isCount(regions) && isCount(bytes) && (sinceMs === undefined || isCount(sinceMs));
}

function isConfiguration(value: unknown): value is ConfigurationView {
  if (!isObject(value)) return false;
  const { revision, digest, file, settings } = value;
  if (!isCount(revision) || !isText(digest) || !isText(file)) return false;
  return settings === undefined || typeof settings === "string";
}
