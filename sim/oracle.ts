import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import type { ImageView } from "./image-view.ts";
import { isLost, noteBack, noteLost, wasLost } from "./losses.ts";
import type { SectorLosses } from "./losses.ts";
import { at, phantoms } from "./phantoms.ts";
import type { Prng } from "./prng.ts";
import { emptyPrefix, judgePrefix, noteMissing, lsnOf } from "./prefix.ts";
import type { Prefix } from "./prefix.ts";
import { keyOf, placeOf } from "./sector-key.ts";
import type { Held } from "./stamp.ts";

// The oracle knows every write that a host made and what it was told of it (SPEC 4.1). It knows nothing of the engine: it
// judges images, reads and claims by what the hosts were promised.
//
// "Ticks" order everything that the oracle is told: one number for each invocation and each answer. A "reign" is one
// process's time as the primary of the line, the history that counts. A process that goes on serving after another site was
// promoted is off the line: its writes are a branch, and must never show on the line.

export type WriteRecord = {
  readonly id: number;
  readonly volume: number;
  readonly sector: number;
  readonly sectors: number;
  readonly zero: boolean;
  readonly site: string;
  /** The process that it was sent to. */
  readonly life: number;
  /** Number of the reign it was made in; -1 while that process has none, or is off the line. */
  reign: number;
  readonly invokedTick: number;
  /** Infinity until the host was told that it succeeded. */
  ackedTick: number;
  outcome: HostOutcome | "none";
  /** The engine's own field tells its place in the order, 0 before it has one. */
  readonly request: HostRequest | undefined;
  /** Sites at which an answered FLUSH, FUA or `durability: write` promises that it survives a power loss; as bits. */
  durableAt: number;
  durableTick: number;
};

/** What an image must satisfy. Sites are bits, as everywhere in the oracle. */
export type Claim = {
  readonly site: number;
  /** Every write acked before this tick must be there. */
  readonly allAckedBefore: number;
  /** The site lost power at this tick: of the writes acked before it, only those promised durable there must be. -1: never. */
  readonly powerLostAt: number;
  /** Writes that an earlier crash lost may be there again: the image is from before that was settled. */
  readonly mayHoldLost: boolean;
  /** No write may be there while one is missing that was acked before the first was made. */
  readonly cut: boolean;
  /**
   * A copy that takes sets: the image is a state of the primary's at one LSN, and of what was acked those writes must be there
   * that were reported complete, whatever crashed since.
   */
  readonly sets?: {
    readonly reign: number;
    readonly completeLsn: number;
    /** It was brought up from a bunker that had what was acked before this tick (I5); 0: it was not. */
    readonly replayedTick?: number;
    /** LSNs at which a set may have ended, where they are known: it must have been at one of them (I10). */
    readonly ends?: ReadonlySet<number>;
  };
  /** What was settled as lost after this tick does not count yet; what came back after it is lost still. */
  readonly asOf: number;
};

/** A broken promise, by the id of the invariant. */
export type Finding = { readonly id: string; readonly message: string };

export type Reign = { readonly number: number; readonly site: string; readonly life: number };

export class Oracle {
  readonly writes: (WriteRecord | undefined)[] = [undefined];
  tick = 1;
  reign: Reign = { number: 0, site: "", life: -1 };
  readonly durability: "flush" | "write";
  /** Generation in which each reign served, by its number. */
  readonly generations: number[] = [0];
  /** Line writes of each sector in the order of their invocation. */
  readonly #histories = new Map<number, WriteRecord[]>();
  /** Keys of `#histories`, to draw from. */
  readonly #touched: number[] = [];
  /** Per sector, the writes that a settled crash or promotion lost, and when. */
  readonly #lost = new Map<number, SectorLosses>();
  /** Acked writes that no FLUSH has covered yet, by volume. */
  readonly #volatile: WriteRecord[][] = [];

  constructor(durability: "flush" | "write") {
    this.durability = durability;
  }

  next(): number {
    this.tick += 1;
    return this.tick;
  }

  invoke(
    write: Pick<
      WriteRecord,
      "volume" | "sector" | "sectors" | "zero" | "site" | "life" | "request"
    >,
  ): WriteRecord {
    const reign = write.life === this.reign.life ? this.reign.number : -1;
    const { volume, sector, sectors, zero, site, life, request } = write;
    const record: WriteRecord = {
      id: this.writes.length,
      volume,
      sector,
      sectors,
      zero,
      site,
      life,
      reign,
      invokedTick: this.next(),
      ackedTick: Infinity,
      outcome: "none",
      request,
      durableAt: 0,
      durableTick: Infinity,
    };
    this.writes.push(record);
    if (reign >= 0) this.#enter(record);
    return record;
  }

  /** Id that the next write will have: its sectors are stamped with it before it is invoked. */
  nextWriteId(): number {
    return this.writes.length;
  }

  /** The host was told how its write ended. `participants` are the sites that the primary's status says have it. */
  answer(write: WriteRecord, outcome: HostOutcome, participants: number, forced: boolean): void {
    write.outcome = outcome;
    if (outcome !== "ok") return;
    write.ackedTick = this.next();
    if (forced || this.durability === "write") this.#makeDurable(write, participants);
    else if (write.reign === this.reign.number) (this.#volatile[write.volume] ??= []).push(write);
  }

  /** Writes that a FLUSH invoked at a tick covers and that no other covered before, at any site of `participants`. */
  coveredBy(volume: number, invokedTick: number): readonly WriteRecord[] {
    return (this.#volatile[volume] ?? []).filter((write) => write.ackedTick < invokedTick);
  }

  flushed(volume: number, invokedTick: number, participants: number): void {
    const rest: WriteRecord[] = [];
    for (const write of this.#volatile[volume] ?? []) {
      if (write.ackedTick < invokedTick) this.#makeDurable(write, participants);
      else rest.push(write);
    }
    this.#volatile[volume] = rest;
  }

  /** A copy has become synchronized: what is durable at the primary is so there too (the one rule of forgetting). */
  joined(primary: number, copy: number): void {
    for (const write of this.writes) {
      if (write !== undefined && (write.durableAt & primary) !== 0) write.durableAt |= copy;
    }
  }

  #makeDurable(write: WriteRecord, sites: number): void {
    write.durableAt |= sites;
    if (write.durableTick === Infinity) write.durableTick = this.next();
  }

  #enter(write: WriteRecord): void {
    for (let i = 0; i < write.sectors; i += 1) {
      const key = keyOf(write.volume, write.sector + i);
      const history = this.#histories.get(key);
      if (history !== undefined) {
        history.push(write);
        continue;
      }
      this.#histories.set(key, [write]);
      this.#touched.push(key);
    }
  }

  /** The line writes of a sector, in the order of their invocation. */
  history(volume: number, sector: number): readonly WriteRecord[] {
    return this.#histories.get(keyOf(volume, sector)) ?? [];
  }

  /** True when `older` certainly comes before `newer` in the order of writes. Undefined stands for the empty volume. */
  isSurelyOlder(older: WriteRecord | undefined, newer: WriteRecord): boolean {
    if (older === undefined) return true;
    if (older === newer) return false;
    if (older.reign !== newer.reign) return older.reign < newer.reign;
    const [first, second] = [older.request?.lsn ?? 0, newer.request?.lsn ?? 0];
    if (first > 0 && second > 0) return first < second;
    return older.ackedTick < newer.invokedTick;
  }

  /**
   * The writes that what a sector holds may be of. One, but for zeros: the empty volume and every zeroing look alike. Nothing
   * when no write of the line explains it.
   */
  candidates(volume: number, sector: number, held: Held): readonly (WriteRecord | undefined)[] {
    if (held.kind === "alien") return [];
    const history = this.history(volume, sector);
    if (held.id === 0) return [undefined, ...history.filter((write) => write.zero)];
    const write = this.writes[held.id];
    return write !== undefined && history.includes(write) ? [write] : [];
  }

  /** Whether an image keeps what was promised. At most a few findings, the most telling first. */
  judge(image: ImageView, claim: Claim): Finding[] {
    const findings = phantoms(this, image);
    let newestHeld: { invoked: number; write: WriteRecord | undefined } = {
      invoked: -1,
      write: undefined,
    };
    let firstMissing: WriteRecord | undefined;
    const order: Prefix = { ...emptyPrefix };
    for (const key of this.#histories.keys()) {
      const [volume, sector] = placeOf(key);
      const verdict = this.#judgeSector(image, claim, volume, sector);
      if ("id" in verdict) {
        findings.push(verdict);
        if (findings.length > 3) return findings;
        continue;
      }
      const { held, missing } = verdict;
      if (held !== undefined && held.invokedTick > newestHeld.invoked) {
        newestHeld = { invoked: held.invokedTick, write: held };
      }
      if (missing !== undefined && (firstMissing?.ackedTick ?? Infinity) > missing.ackedTick)
        firstMissing = missing;
      if (claim.sets !== undefined && claim.cut)
        this.#noteOrder(order, verdict, { volume, sector, asOf: claim.asOf });
    }
    findings.push(...judgePrefix(order, claim, image.site, describe));
    if (claim.cut && firstMissing !== undefined && firstMissing.ackedTick < newestHeld.invoked) {
      findings.push({
        id: "I8",
        message:
          `${image.site} holds ${describe(newestHeld.write)} and lacks ${describe(firstMissing)}, ` +
          `which was acked before the first was made: not a point of the history`,
      });
    }
    return findings;
  }

  // The prefix test (SPEC 4.1) over the writes of the last reign: earlier ones are held, or lost, wherever a later one is held.
  #noteOrder(
    order: Prefix,
    { held, newest }: { held: WriteRecord | undefined; newest: WriteRecord | undefined },
    place: { readonly volume: number; readonly sector: number; readonly asOf: number },
  ): void {
    const { number } = this.reign;
    if (held?.reign === number && lsnOf(held) > lsnOf(order.highestHeld)) order.highestHeld = held;
    const lost = this.#lost.get(keyOf(place.volume, place.sector));
    for (const write of this.history(place.volume, place.sector)) {
      if (write.reign !== number || lsnOf(write) === 0) continue;
      if (wasLost(lost, write.id, place.asOf)) continue;
      // What failed at the primary may be anywhere or nowhere.
      if (write.outcome !== "ok" && write.outcome !== "none") continue;
      if (!this.isSurelyOlder(newest, write)) continue;
      noteMissing(
        order,
        write,
        () => `volume ${place.volume} sector ${place.sector} holds ${describe(held)}`,
      );
    }
  }

  #judgeSector(
    image: ImageView,
    claim: Claim,
    volume: number,
    sector: number,
  ): Finding | SectorVerdict {
    const held = image.held(volume, sector);
    const lost = this.#lost.get(keyOf(volume, sector));
    const place = { volume, sector, asOf: claim.asOf };
    let finding: Finding | undefined;
    const legal: (WriteRecord | undefined)[] = [];
    for (const candidate of this.candidates(volume, sector, held)) {
      const required = this.#firstNewer(candidate, place, (write) => isRequired(write, claim));
      const wasGone = candidate !== undefined && wasLost(lost, candidate.id, claim.asOf);
      const cameBack = wasGone && !claim.mayHoldLost;
      if (required === undefined && !cameBack) legal.push(candidate);
      const holds = `${at(image, volume, sector)} holds ${describe(candidate)}`;
      finding ??= cameBack
        ? { id: "N2", message: `${holds} again, which was lost` }
        : { id: "lost", message: `${holds} and lacks ${describe(required)}` };
    }
    // A sector that no write explains was reported as a phantom already.
    if (legal.length === 0) return finding ?? nothingHeld;
    // Of several zeroings it holds the first for certain, and lacks only what is newer than the last.
    const newest = legal.reduce((one, other) =>
      other !== undefined && this.isSurelyOlder(one, other) ? other : one,
    );
    // They stand in the order in which they were invoked, which need not be that of their LSNs.
    const oldest = legal.reduce((one, other) =>
      one !== undefined && this.isSurelyOlder(other, one) ? other : one,
    );
    const missing = this.#firstNewer(newest, place, (write) => write.ackedTick < Infinity);
    return { held: oldest, newest, missing };
  }

  /** The write of a sector with the earliest ack among those surely newer than what is held, and wanted. */
  #firstNewer(
    held: WriteRecord | undefined,
    place: { readonly volume: number; readonly sector: number; readonly asOf: number },
    wanted: (write: WriteRecord) => boolean,
  ): WriteRecord | undefined {
    const lost = this.#lost.get(keyOf(place.volume, place.sector));
    let first: WriteRecord | undefined;
    for (const write of this.history(place.volume, place.sector)) {
      if (write.ackedTick >= (first?.ackedTick ?? Infinity) || !wanted(write)) continue;
      if (this.isSurelyOlder(held, write) && !wasLost(lost, write.id, place.asOf)) first = write;
    }
    return first;
  }

  /**
   * A process begins to serve with this image: what it holds is from now on the state of the line, and what it does not
   * hold of earlier writes is gone for good. Answers when the first of the acked writes was acked that were lost and
   * are not any more.
   */
  beginReign(image: ImageView, life: number, generation: number): number {
    const tick = this.next();
    this.generations.push(generation);
    this.reign = { number: this.reign.number + 1, site: image.site, life };
    let revivedFrom = Infinity;
    for (const [key, history] of this.#histories) {
      const [volume, sector] = placeOf(key);
      const candidates = this.candidates(volume, sector, image.held(volume, sector));
      const held = candidates[candidates.length - 1];
      for (const candidate of candidates)
        if (this.#noteRevived(this.#lost.get(key), candidate, tick))
          revivedFrom = Math.min(revivedFrom, candidate?.ackedTick ?? Infinity);
      for (const write of history) {
        if (candidates.includes(write)) continue;
        if (write.life === life && write.outcome === "none") {
          // It waits to be served by this reign, whatever another one made of it meanwhile.
          noteBack(this.#lost.get(key), write.id, tick);
          continue;
        }
        if (held !== undefined && this.isSurelyOlder(write, held)) continue;
        let lost = this.#lost.get(key);
        if (lost === undefined) this.#lost.set(key, (lost = new Map()));
        noteLost(lost, write.id, tick);
      }
    }
    // Requests that reached the process before it served were held, and are of this reign. What it acked before, as the
    // primary of a branch that its operator has given up since, is not.
    for (const write of this.writes) {
      if (write === undefined || write.life !== life) continue;
      if (write.outcome === "ok" && write.reign < 0) continue;
      this.#join(write);
      if (write.outcome === "none") write.reign = this.reign.number;
    }
    return revivedFrom;
  }

  /**
   * Where the operator chose an image from before a loss, what it holds is not lost any more. Neither is what lay there
   * before: until the newer write is synced, a power cut brings the older one back.
   */
  #noteRevived(
    lost: SectorLosses | undefined,
    held: WriteRecord | undefined,
    tick: number,
  ): boolean {
    if (lost === undefined || held === undefined || !noteBack(lost, held.id, tick)) return false;
    for (const id of lost.keys()) {
      const write = this.writes[id];
      if (write !== undefined && this.isSurelyOlder(write, held)) noteBack(lost, id, tick);
    }
    return true;
  }

  #join(write: WriteRecord): void {
    if (write.reign >= 0) return;
    write.reign = this.reign.number;
    this.#enter(write);
  }

  /**
   * The operator has chosen a branch: what these sites acked off the line counts from now on, and what the line had instead
   * is given up. False when they acked none since.
   */
  adoptBranch(sites: ReadonlySet<string>, life: number): boolean {
    let found = false;
    for (const write of this.writes) {
      if (write === undefined || !sites.has(write.site)) continue;
      // What the new reign itself has not answered yet is not of the branch.
      if (write.life === life && write.ackedTick === Infinity) continue;
      found ||= write.reign < 0;
      this.#join(write);
    }
    return found;
  }

  /** Whether a host's read, invoked at a tick and answered now, may show this. */
  judgeRead(volume: number, sector: number, held: Held, invokedTick: number): Finding | undefined {
    const place = `a read of volume ${volume} sector ${sector}`;
    if (held.kind === "alien") return { id: "I8", message: `${place} shows ${held.what}` };
    const candidates = this.candidates(volume, sector, held);
    if (candidates.length === 0) {
      return { id: "I8", message: `${place} shows write ${held.id}, never made there` };
    }
    const lost = this.#lost.get(keyOf(volume, sector));
    const now = { volume, sector, asOf: Infinity };
    let finding: Finding | undefined;
    // Of several zeroings the newest lacks least.
    for (const candidate of candidates.toReversed()) {
      const newer = this.#firstNewer(candidate, now, (write) => write.ackedTick < invokedTick);
      const cameBack = candidate !== undefined && isLost(lost, candidate.id);
      if (newer === undefined && !cameBack) return undefined;
      const shows = `${place} shows ${describe(candidate)}`;
      finding ??= cameBack
        ? { id: "N2", message: `${shows}, which earlier reads did not` }
        : { id: "I32", message: `${shows} and not the acked ${describe(newer)}` };
    }
    return finding;
  }

  /** Sectors of a write at which an image holds something surely older: what it lacks of the write. */
  lacks(image: ImageView, write: WriteRecord): { sector: number; held: Held } | undefined {
    for (let i = 0; i < write.sectors; i += 1) {
      const sector = write.sector + i;
      if (this.isLost(write, sector)) continue;
      const held = image.held(write.volume, sector);
      const candidates = this.candidates(write.volume, sector, held);
      if (candidates.every((one) => this.isSurelyOlder(one, write))) {
        return { sector, held };
      }
    }
    return undefined;
  }

  /** Whether the line has gone on without this write, or without part of it. */
  isGivenUp(write: WriteRecord): boolean {
    if (write.reign < 0) return true;
    for (let i = 0; i < write.sectors; i += 1) {
      const sector = write.sector + i;
      if (this.isLost(write, sector) && !this.#isWrittenOver(write, sector)) return true;
    }
    return false;
  }

  /** What the line went on with is of the same primary, and comes later in its order: there the write had been. */
  #isWrittenOver({ volume, life, request }: WriteRecord, sector: number): boolean {
    const lsn = request?.lsn ?? 0;
    return this.history(volume, sector).some(
      (write) => write.life === life && lsnOf(write) > lsn && !this.isLost(write, sector),
    );
  }

  /** Whether a crash or a takeover has taken this write from a sector for good. */
  isLost(write: WriteRecord, sector: number): boolean {
    return isLost(this.#lost.get(keyOf(write.volume, sector)), write.id);
  }

  /** A sector that a line write touched, drawn by chance; undefined while there is none. */
  drawSector(rng: Prng): readonly [number, number] | undefined {
    return this.#touched.length === 0 ? undefined : placeOf(rng.pick(this.#touched));
  }

  /** The newest acked write of a sector that was not lost, or undefined. */
  newestAcked(volume: number, sector: number): WriteRecord | undefined {
    const lost = this.#lost.get(keyOf(volume, sector));
    let newest: WriteRecord | undefined;
    for (const write of this.history(volume, sector)) {
      if (write.ackedTick === Infinity || isLost(lost, write.id)) continue;
      if (this.isSurelyOlder(newest, write)) newest = write;
    }
    return newest;
  }
}

/** What a sector holds: for certain, at best, and the first acked write that it lacks. */
type SectorVerdict = Readonly<Record<"held" | "newest" | "missing", WriteRecord | undefined>>;
const nothingHeld: SectorVerdict = { held: undefined, newest: undefined, missing: undefined };

function isRequired(write: WriteRecord, claim: Claim): boolean {
  const { sets } = claim;
  if (sets !== undefined) {
    if (write.ackedTick < (sets.replayedTick ?? 0)) return true;
    // LSNs go on from reign to reign: what an earlier one acked beyond this the copy may lack too.
    if (write.ackedTick >= claim.allAckedBefore || write.reign > sets.reign) return false;
    return lsnOf(write) <= sets.completeLsn;
  }
  if (write.ackedTick >= claim.allAckedBefore) return false;
  if (write.ackedTick > claim.powerLostAt) return true;
  return (write.durableAt & claim.site) !== 0 && write.durableTick <= claim.powerLostAt;
}

export function describe(write: WriteRecord | undefined): string {
  if (write === undefined) return "the empty volume";
  const lsn = write.request?.lsn ?? 0;
  const end = write.ackedTick === Infinity ? write.outcome : "acked";
  return `${write.zero ? "zeroing" : "write"} ${write.id} (lsn ${lsn}, ${end}, at ${write.site})`;
}
