// A copy's staging with a driver that answers when it is told to, for tests of the machine alone. Sets are named by their
// numbers: `3.2` is index 2 of set 3, with LSN 32, and `3.S` its SEAL.

import assert from "node:assert/strict";
import { limits } from "#base/limits.ts";
import { digestStep } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import { stepStaging } from "#core/staging.ts";
import { createStaging } from "#core/staging-state.ts";
import type {
  FoundRecord,
  Point,
  Staging,
  StagingEffect,
  StagingEvent,
  StagingMode,
} from "#core/staging-state.ts";
import { sampleEntry } from "./sample-entry.ts";

export type Rig = {
  staging: Staging<string>;
  readonly words: string[];
  readonly pending: { readonly words: string; readonly answer: StagingEvent<string> }[];
  /** What the log has: by ticket, which is the place too. */
  readonly records: Map<number, FoundRecord<string>>;
  epoch: number;
  sequence: number;
  recorded: Point | undefined;
};

const ok = { failure: undefined } as const;
export const failure = { code: "EIO", message: "EIO" };

export function createRig(mode: StagingMode = "durable"): Rig {
  const rig: Rig = {
    staging: createStaging(mode),
    words: [],
    pending: [],
    records: new Map(),
    epoch: 0,
    sequence: 0,
    recorded: undefined,
  };
  step(rig, { kind: "start" });
  return rig;
}

/** A copy in a session, with nothing behind it. */
export function createFedRig(mode: StagingMode = "durable"): Rig {
  const rig = createRig(mode);
  open(rig);
  rig.words.length = 0;
  return rig;
}

type Opened = Extract<StagingEvent<string>, { kind: "opened" }>;

export function open(rig: Rig, fields: Partial<Opened> = {}): void {
  rig.epoch += 1;
  rig.sequence = 0;
  const { set, lsn } = rig.staging.complete;
  const told = { epoch: rig.epoch, incarnation: 1, firstSet: set + 1, lsn, resync: false };
  step(rig, { kind: "opened", ...told, ...fields });
}

export function step(rig: Rig, event: StagingEvent<string>): void {
  const out: StagingEffect<string>[] = [];
  stepStaging(rig.staging, event, out);
  for (const effect of out) {
    const words = wordsOf(effect);
    rig.words.push(words);
    if (effect.kind === "recordApplied") rig.recorded = effect.point;
    if (effect.kind === "stage" || effect.kind === "flag" || effect.kind === "purge")
      rig.records.set(effect.ticket, recordOf(effect));
    const answer = answerTo(effect);
    if (answer !== undefined) rig.pending.push({ words, answer });
  }
}

type Appended = StagingEffect<string> & { kind: "stage" | "flag" | "purge" };

function recordOf(effect: Appended): FoundRecord<string> {
  if (effect.kind === "purge")
    return { place: effect.ticket, kind: "purge", completeSet: effect.completeSet };
  if (effect.kind === "flag") return { place: effect.ticket, kind: "flags", flags: effect.flags };
  return { place: effect.ticket, kind: "batch", ...effect.batch };
}

export function wordsOf(effect: StagingEffect<string>): string {
  switch (effect.kind) {
    case "stage":
      return `stage ${effect.batch.entries.map(nameOf).join(" ")}`;
    case "flag":
      return `flag ${effect.flags.map(({ set }) => set).join(" ")}`;
    case "purge":
      return `purge above ${effect.completeSet}`;
    case "purged":
      return `purged: complete ${effect.complete.set}, ${effect.entries} entries gone`;
    case "ackLane":
      return `ack ${effect.lane}:${effect.sequence}`;
    case "progress":
      return `complete ${effect.complete.set} applied ${effect.applied.set} synced ${effect.synced.set}`;
    case "apply":
      return `apply ${effect.set}: ${effect.entries.map(({ lsn }) => lsn).join(" ")}`;
    case "recordApplied":
      return `record ${effect.point.set}`;
    case "forget":
      return `forget ${effect.through}`;
    case "release":
      return `release ${effect.held.join(" ")}`;
    case "consistent":
      return `consistent at ${effect.point.set}`;
    case "settled":
      return `settled at ${effect.point.set}, LSN ${effect.point.lsn}: ${effect.why ?? "all"}`;
    case "failSession":
      return `fail: ${effect.why}`;
    default:
      return effect.kind;
  }
}

function answerTo(effect: StagingEffect<string>): StagingEvent<string> | undefined {
  switch (effect.kind) {
    case "stage":
    case "flag":
    case "purge":
      return { kind: "staged", ticket: effect.ticket, place: effect.ticket };
    case "sync":
      return { kind: "synced", ticket: effect.ticket, ...ok };
    case "apply":
      return { kind: "applied", set: effect.set, ...ok };
    case "syncImages":
      return { kind: "imagesSynced", ...ok };
    case "recordApplied":
      return { kind: "appliedRecorded", ...ok };
    default:
      return undefined;
  }
}

/** Answers what begins with these words, the oldest first. */
export function answer(rig: Rig, prefix: string): void {
  const index = rig.pending.findIndex(({ words }) => words.startsWith(prefix));
  const [taken] = rig.pending.splice(index === -1 ? rig.pending.length : index, 1);
  step(rig, taken?.answer ?? assert.fail(`nothing waits for ${prefix}`));
}

/** Answers what matches, oldest first, until nothing does. */
export function settle(rig: Rig, pattern = /./): void {
  for (let i = 0; i < 100_000; i += 1) {
    const next = rig.pending.find(({ words }) => pattern.test(words));
    if (next === undefined) return;
    answer(rig, next.words);
  }
  assert.fail("it never rests");
}

export function rest(rig: Rig, ms: number = limits.applyIdleMs): void {
  step(rig, { kind: "tick", nowMs: rig.staging.nowMs + ms });
}

/** Hands entries over as one batch of a lane. */
export function give(
  rig: Rig,
  entries: readonly Entry[],
  fields: { lane?: number; epoch?: number } = {},
) {
  rig.sequence += 1;
  const held = entries.map((entry) => (entry.kind === "write" ? nameOf(entry) : undefined));
  const batch = { entries, held, raw: undefined };
  const { epoch } = rig;
  step(rig, { kind: "batch", epoch, lane: 0, sequence: rig.sequence, batch, ...fields });
}

/** The process ends and starts again; the log has kept these of its records, all if nothing is said. */
export function restart(
  rig: Rig,
  keeps: (record: FoundRecord<string>) => boolean = () => true,
): void {
  rig.pending.length = 0;
  rig.words.length = 0;
  const found = [...rig.records.values()].filter(keeps);
  rig.staging = createStaging(rig.staging.mode, rig.recorded, found);
  rig.records.clear();
  found.forEach((record, i) => rig.records.set(i + 1, { ...record, place: i + 1 }));
  step(rig, { kind: "start" });
}

export function effects(rig: Rig, pattern = /./): string[] {
  return rig.words.splice(0).filter((words) => pattern.test(words));
}

export function nameOf({ kind, set, index }: Entry): string {
  return `${set}.${kind === "seal" ? "S" : index}`;
}

/** The writes of a set and its SEAL, which comes last. */
export function makeSet(set: number, count: number, fields: Partial<Entry> = {}): Entry[] {
  const plain = Array.from({ length: count }, (_, i) => makeEntry(set, i + 1));
  const last = { lsn: set * 10 + count, index: count + 1, offset: set, length: 0, stampMs: set };
  const payloadCrc = plain.reduce(digestStep, 0);
  return [...plain, { ...makeEntry(set, 0), ...last, kind: "seal", payloadCrc, ...fields }];
}

export function makeEntry(set: number, index: number, fields: Partial<Entry> = {}): Entry {
  const place = { lsn: set * 10 + index, set, index, offset: index * 4096 };
  return sampleEntry({ ...place, payloadCrc: set * 1000 + index, ...fields });
}
