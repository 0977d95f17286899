import { must } from "#base/assert.ts";
import { blankMember } from "#core/group-record.ts";
import type { MemberPhase } from "#core/group-record.ts";
import { lossTable, policyTable } from "#core/policy.ts";
import type { OnLoss } from "#core/policy.ts";
import { createPrimary, step } from "#core/primary.ts";
import type { PrimaryEffect, PrimaryEvent } from "#core/primary-events.ts";
import type { Primary, ResyncItem } from "#core/primary-state.ts";
import { createRegionMap, mark } from "#core/region-map.ts";
import { mayConnect } from "#core/slow.ts";
import type { HostOutcome, HostRequest, HostRequestKind } from "#ports/host-request.ts";
import { benchRegionBytes, copied, put, versionsOf } from "./bench-content.ts";
import type { Range } from "./bench-content.ts";
import { createJudge } from "./primary-judge.ts";
import type { Judge } from "./primary-judge.ts";
import { sampleRecord } from "./sample-record.ts";

// A primary's machine alone on a bench: everything that it asks for waits until the test lets it happen, in whatever
// order. Contents are versions: a region holds the LSN that was written there last, so "who has what" can be asked of
// image and members at any time. `primary-judge.ts` looks at every effect.

const volumes = [
  { name: "data", bytes: 32 * benchRegionBytes },
  { name: "log", bytes: 8 * benchRegionBytes },
];

export type BenchMember = {
  readonly site: string;
  readonly index: number;
  /** Undefined while there is no session. */
  epoch: number | undefined;
  /** What was sent and not taken yet, in order. */
  readonly frames: BenchFrame[];
  /** Content by volume and region, in the image and on the disk. */
  readonly has: number[][];
  synced: number[][];
};

export type BenchFrame =
  | { readonly kind: "openMapEnd" | "synchronized" }
  | { readonly kind: "flush"; readonly ticket: number }
  | { readonly kind: "write"; readonly sequence: number; readonly request: HostRequest }
  | {
      readonly kind: "region" | "compare";
      readonly sequence: number;
      readonly item: ResyncItem;
      readonly versions: readonly number[];
    };

export type Bench = {
  readonly primary: Primary;
  readonly members: readonly BenchMember[];
  /** Every effect, in words, oldest first. */
  readonly log: string[];
  readonly image: number[][];
  readonly imageSynced: number[][];
  readonly judge: Judge;
  readonly outcomes: Map<HostRequest, HostOutcome>;
  /** What may happen next, by name: each is an answer that the machine waits for. */
  readonly pending: Map<string, () => void>;
  readonly ended: string[];
  epoch: number;
  inbox: PrimaryEvent[];
  isStepping: boolean;
};

export type BenchOptions = {
  readonly onLoss?: readonly OnLoss[];
  readonly durability?: "flush" | "write";
  readonly phase?: MemberPhase;
  /** Granules of `data` that were open when the last incarnation ended. */
  readonly openGranules?: readonly number[];
};

const sites = ["west", "vault", "north"];

export function createBench(options: BenchOptions = {}): Bench {
  const policies = (options.onLoss ?? ["continue"]).map((onLoss, index) => ({
    site: must(sites[index], "the bench has three members at most"),
    mode: policyTable.sync,
    through: undefined,
    loss: lossTable[onLoss],
    ackTimeoutMs: 10_000,
    autoResume: true,
    timeoutMs: 3_000,
    compress: undefined,
    rateBytesPerSecond: undefined,
    connections: 1,
  }));
  const phase = options.phase ?? "synchronized";
  const record = sampleRecord({ volumes, regionBytes: benchRegionBytes, openMapIds: [1, 2] });
  record.members = Object.fromEntries(
    policies.map(({ site }) => [site, { ...blankMember(), phase }]),
  );
  const openMaps = volumes.map((volume) => createRegionMap(volume.bytes, 1024 * 1024));
  const data = must(openMaps[0], "there is a first volume");
  for (const granule of options.openGranules ?? []) mark(data, granule, granule);
  const primary = createPrimary({
    record,
    policies,
    durability: options.durability ?? "flush",
    wallMs: 0,
    journal: undefined,
    isJournalWhole: false,
    openMaps,
    dirtyMaps: new Map(),
    nowMs: 1_000,
  });
  const empty = (): number[][] =>
    volumes.map(({ bytes }) => Array.from({ length: bytes / benchRegionBytes }, () => 0));
  const bench: Bench = {
    primary,
    members: policies.map(({ site }, index) => ({
      site,
      index,
      epoch: undefined,
      frames: [],
      has: empty(),
      synced: empty(),
    })),
    log: [],
    image: empty(),
    imageSynced: empty(),
    judge: createJudge(primary),
    outcomes: new Map(),
    pending: new Map(),
    ended: [],
    epoch: 0,
    inbox: [],
    isStepping: false,
  };
  return bench;
}

/** A machine that serves, with every member synchronized. */
export function createServingBench(options: BenchOptions = {}): Bench {
  const bench = createBench(options);
  submit(bench, { kind: "start" });
  settle(bench, true);
  bench.log.length = 0;
  return bench;
}

/** Moves the machine, and performs what it asks for. */
export function submit(bench: Bench, event: PrimaryEvent): void {
  bench.inbox.push(event);
  if (bench.isStepping) return;
  bench.isStepping = true;
  for (let next = bench.inbox.shift(); next !== undefined; next = bench.inbox.shift()) {
    const out: PrimaryEffect[] = [];
    step(bench.primary, next, out);
    for (const effect of out) perform(bench, effect);
  }
  bench.isStepping = false;
}

// ------------------------------------------------------------------------------------ what a test does

export type BenchRequest = {
  readonly volume?: number;
  readonly region?: number;
  readonly regions?: number;
  readonly fua?: boolean;
};

export function ask(bench: Bench, kind: HostRequestKind, what: BenchRequest = {}): HostRequest {
  const request: HostRequest = {
    kind,
    volume: what.volume ?? 0,
    offset: kind === "flush" ? 0 : (what.region ?? 0) * benchRegionBytes,
    length: kind === "flush" ? 0 : (what.regions ?? 1) * benchRegionBytes,
    payload: [],
    fua: what.fua ?? false,
    mayPunch: false,
    onReply: () => undefined,
    lsn: 0,
    legs: 0,
    failure: "ok",
  };
  bench.judge.asked(request);
  submit(bench, { kind: "request", request });
  return request;
}

/** Lets what is pending under this name, or the first that begins so, happen. */
export function run(bench: Bench, prefix: string): void {
  for (const [name, action] of bench.pending) {
    if (!name.startsWith(prefix)) continue;
    bench.pending.delete(name);
    return action();
  }
  throw new Error(`nothing pending begins with ${prefix}: ${[...bench.pending.keys()].join(", ")}`);
}

/** Answers everything, oldest first, until the machine waits for nothing more. */
export function settle(bench: Bench, connects = false): void {
  for (let i = 0; i < 20_000; i += 1) {
    if (connects) for (const member of bench.members) connect(bench, member);
    const next = bench.pending.entries().next().value;
    if (next !== undefined) run(bench, next[0]);
    else if (!bench.members.some((member) => take(bench, member))) return;
  }
  throw new Error("the machine never comes to rest");
}

/** Opens a session where the machine wants one. */
export function connect(bench: Bench, member: BenchMember): boolean {
  const { primary } = bench;
  const known = must(primary.members[member.index], "the bench knows its members");
  if (member.epoch !== undefined || primary.lsnReserved === 0 || !mayConnect(primary, known)) {
    return false;
  }
  bench.epoch += 1;
  member.epoch = bench.epoch;
  member.frames.push({ kind: "openMapEnd" });
  const hello = {
    replicaId: `disk of ${member.site}`,
    history: primary.record.history,
    aloneTowards: [],
    isBlank: false,
    mustRewrite: false,
    completeSet: 0,
    completeLsn: 0,
    discards: [],
  };
  submit(bench, { kind: "sessionOpened", member: member.index, epoch: bench.epoch, hello });
  return true;
}

/** Ends a session. What the member had not taken is lost; by a power cut also what it had not synced. */
export function lose(bench: Bench, member: BenchMember, isPowerCut = false): void {
  if (isPowerCut)
    member.has.forEach((_, volume) => (member.has[volume] = copied(member.synced, volume)));
  if (member.epoch === undefined) return;
  const { epoch } = member;
  member.epoch = undefined;
  member.frames.length = 0;
  submit(bench, { kind: "sessionLost", member: member.index, epoch, why: "link down" });
}

/** The member takes the next frame and answers it; without `isHeard` the answer is lost. */
export function take(bench: Bench, member: BenchMember, isHeard = true): boolean {
  const frame = member.frames.shift();
  if (frame === undefined) return false;
  const answers = answersTo(member, frame);
  if (!isHeard) return true;
  if (frame.kind === "write") bench.judge.memberAcked(member.index, frame.request);
  for (const answer of answers) submit(bench, answer);
  return true;
}

function answersTo(member: BenchMember, frame: BenchFrame): PrimaryEvent[] {
  const { index } = member;
  switch (frame.kind) {
    case "openMapEnd":
      return [{ kind: "memberOpenMapEnd", member: index }];
    case "synchronized":
      return [{ kind: "synchronizedRecorded", member: index }];
    case "flush":
      member.synced = member.has.map((regions) => [...regions]);
      return [{ kind: "flushed", member: index, ticket: frame.ticket }];
    case "write":
      put(member.has, frame.request, () => frame.request.lsn);
      return [{ kind: "acked", member: index, sequence: frame.sequence }];
    case "region":
      put(member.has, frame.item, (i) => frame.versions[i] ?? 0);
      return [{ kind: "acked", member: index, sequence: frame.sequence }];
    case "compare": {
      const differs: PrimaryEvent = {
        kind: "differs",
        member: index,
        sequence: frame.sequence,
        bits: differences(member, frame.item, frame.versions),
      };
      const ack: PrimaryEvent = { kind: "acked", member: index, sequence: frame.sequence };
      return differs.bits.some((byte) => byte !== 0) ? [differs, ack] : [ack];
    }
  }
}

function differences(member: BenchMember, range: Range, versions: readonly number[]): Uint8Array {
  const own = versionsOf(member.has, range);
  const bits = new Uint8Array(Math.ceil(own.length / 8));
  own.forEach((version, i) => {
    if (version !== versions[i]) bits[i >>> 3] = (bits[i >>> 3] ?? 0) | (1 << (i & 7));
  });
  return bits;
}

// -------------------------------------------------------------------------------------------- effects

function perform(bench: Bench, effect: PrimaryEffect): void {
  bench.log.push(wordsOf(bench, effect));
  bench.judge.saw(effect, bench);
  const later = (name: string, event: PrimaryEvent): void =>
    void bench.pending.set(name, () => submit(bench, event));
  switch (effect.kind) {
    case "read":
      bench.outcomes.set(effect.request, "ok");
      return;
    case "reply":
      bench.outcomes.set(effect.request, effect.outcome);
      return;
    case "awaitTurnEnd":
      return later("turnEnd", { kind: "turnEnd" });
    case "syncOpenMaps":
      return void bench.pending.set("openMap", () => {
        bench.judge.openMapsDurable();
        submit(bench, { kind: "openMapDurable", ticket: effect.ticket });
      });
    case "image":
      put(bench.image, effect.request, () => effect.request.lsn);
      return later(`image ${effect.request.lsn}`, {
        kind: "imageDone",
        request: effect.request,
        failure: undefined,
      });
    case "syncImage": {
      const covered = copied(bench.image, effect.volume);
      return void bench.pending.set(`sync ${effect.volume}`, () => {
        bench.imageSynced[effect.volume] = covered;
        submit(bench, { ...effect, kind: "imageSynced", failure: undefined });
      });
    }
    case "record":
      return void bench.pending.set(`record ${effect.ticket}`, () => {
        // Records are durable in the order of the asking: this answer speaks for the earlier ones too.
        for (const name of bench.pending.keys()) {
          if (name.startsWith("record ") && Number(name.slice(7)) < effect.ticket) {
            bench.pending.delete(name);
          }
        }
        bench.judge.recordDurable(effect.ticket);
        submit(bench, { kind: "recorded", ticket: effect.ticket });
      });
    case "readRegion": {
      const { item } = effect;
      return void bench.pending.set(
        `read ${item.member} ${item.volume} ${item.offset} ${item.epoch}`,
        () => {
          bench.judge.readDone(item);
          submit(bench, { kind: "regionRead", item, bytes: new Uint8Array(1), failure: undefined });
        },
      );
    }
    case "ended":
      bench.ended.push(effect.how);
      return;
    default:
      return send(bench, effect);
  }
}

function send(bench: Bench, effect: PrimaryEffect): void {
  const index = "item" in effect ? effect.item.member : "member" in effect ? effect.member : -1;
  const member = bench.members[index];
  if (member === undefined || member.epoch === undefined) return;
  switch (effect.kind) {
    case "sendWrite":
      member.frames.push({ kind: "write", sequence: effect.sequence, request: effect.request });
      return;
    case "sendRegion":
    case "sendCompare":
      // What was read is what the image held when the read was answered: in this very step.
      member.frames.push({
        kind: effect.kind === "sendRegion" ? "region" : "compare",
        sequence: effect.sequence,
        item: effect.item,
        versions: versionsOf(bench.image, effect.item),
      });
      return;
    case "sendFlush":
      member.frames.push({ kind: "flush", ticket: effect.ticket });
      return;
    case "sendSynchronized":
      member.frames.push({ kind: "synchronized" });
      return;
    case "closeSession": {
      const { epoch } = member;
      member.epoch = undefined;
      member.frames.length = 0;
      submit(bench, { kind: "sessionLost", member: index, epoch, why: effect.why });
      return;
    }
    default:
  }
}

/** The image write fails: what the image holds there now is nobody's version. */
export function failImage(bench: Bench, request: HostRequest, code: string): void {
  bench.pending.delete(`image ${request.lsn}`);
  const regions = versionsOf(bench.image, request);
  put(bench.image, request, (i) =>
    regions[i] === request.lsn ? request.lsn + 0.5 : (regions[i] ?? 0),
  );
  submit(bench, { kind: "imageDone", request, failure: { code, message: code } });
}

function wordsOf(bench: Bench, effect: PrimaryEffect): string {
  const site = (index: number): string => bench.members[index]?.site ?? "";
  switch (effect.kind) {
    case "image":
      return `image ${effect.request.lsn}`;
    case "reply":
      return `reply ${effect.request.kind} ${effect.request.lsn} ${effect.outcome}`;
    case "sendWrite":
      return `sendWrite ${site(effect.member)} ${effect.request.lsn}`;
    case "syncImage":
      return `syncImage ${effect.volume}`;
    case "event":
      return `event ${effect.event.kind} ${effect.event.copy ?? ""} ${effect.event.to ?? ""}`;
    case "ended":
      return `ended ${effect.how}`;
    default:
      if ("item" in effect) return `${effect.kind} ${site(effect.item.member)}`;
      return "member" in effect ? `${effect.kind} ${site(effect.member)}` : effect.kind;
  }
}
