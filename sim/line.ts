import { policyTable } from "#core/policy.ts";
import type { CopyConfig, GroupConfig } from "#config/types.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";
import { Oracle } from "./oracle.ts";
import type { Claim, WriteRecord } from "./oracle.ts";

/** Whether a copy in this mode is fed with sets. */
export function takesSets(mode: string): boolean {
  return Object.values(policyTable).some(({ name, unit }) => name === mode && unit === "set");
}

/** What the world outside knows of one site's data, by what the primaries' status said of it over time. */
export type SiteKnowledge = {
  readonly bit: number;
  /** The serving primary's status says that it has everything. */
  participant: boolean;
  /** Its status is the best that its mode knows: a mirror has everything, a copy that takes sets is fed behind what it has. */
  well: boolean;
  /** With sets: up to where the primary of a reign has called it complete. What is complete there, a takeover finds (I33). */
  complete: { readonly reign: number; readonly lsn: number };
  /** With sets: tick since when its status says that nobody feeds it; Infinity while it is fed. */
  unfedFrom: number;
  /** The primary lost its power: what that site kept, and brings its copies to, is no point of the history. */
  isTorn: boolean;
  /** Tick of the first ack that was given without it; Infinity while there is none. 0: it never had a whole image. */
  missedFrom: number;
  /** Acked while the status said that it does not take part, since it last had everything, or was the line itself. */
  readonly missed: Set<WriteRecord>;
  /** Tick of its last loss of power since it last had everything; -1 for none. */
  powerLostAt: number;
  /** Tick at which its operator last brought its branch back, since it last had everything; -1 for never. */
  wentBackAt: number;
  /** Tick at which it last recorded that it has everything. */
  wholeAt: number;
  /** Tick at which its operator last had a whole image of it taken back to its branch; -1 for never. */
  wholeUntil: number;
  /** Tick at which a primary's status last showed it in none of `sessionStates`: what is heard of it since, it said since. */
  apartAt: number;
  /** It may hold writes that the line has lost or given up since. */
  mayHoldLost: boolean;
};

const nothingComplete = { reign: 0, lsn: 0 };
const unfedStates: readonly string[] = ["buffering", "tripped", "paused", "stopped", "split-brain"];
/** Not the first sync: nothing that was whole before it is heard of in it. */
const sessionStates: readonly string[] = ["resync", "synchronized", "streaming", "replaying"];

/** The relay that feeds this copy while that site is the primary. */
export function relayFor({ group }: Line, primary: string, copy: string): string | undefined {
  const { mode, through } = group.copies.get(copy) ?? {};
  return primary === group.primary && mode === "cycle" ? through : undefined;
}

/** Sites of a group that keep its log, and no image. */
export function bunkersOf({ copies }: GroupConfig): readonly CopyConfig[] {
  return [...copies.values()].filter(({ mode }) => mode === "bunker");
}

/** The best that a copy's mode knows. */
export function isWellState(state: string): boolean {
  return state === "synchronized" || state === "streaming";
}

/**
 * One group's history that counts, and what each site owes to it: which writes must be found at a site if it were asked to
 * take over now. It follows the public status, so a status that claims too much is caught by what is missing (I33).
 */
export class Line {
  readonly group: GroupConfig;
  readonly oracle: Oracle;
  /** Those that hold an image; a bunker holds none. */
  readonly sites: readonly string[];
  /** The primary of this reign was lost at this tick, while these bunkers took part in every ack. */
  bunkered:
    | { readonly tick: number; readonly reign: number; readonly bunkers: Set<string> }
    | undefined;
  /** Sectors, by `keyOf`, in which a bit has turned over at rest: no map speaks of them. */
  readonly rotten = new Set<number>();
  /** Bunkers that have lost their power since their primary last called them well. */
  readonly forgetful = new Set<string>();
  /** Copies that were brought up from there to the end: what was acked before this tick must be found there (I5). */
  readonly replayed = new Map<string, number>();
  /** Counter and random id of the present reign's generation: two blind promotions share a counter, never an id (U56). */
  generation = 0;
  tenure = "";
  /** Ids of the generations in the present reign's own history. */
  ancestry: ReadonlySet<string> = new Set();
  /** Generations by their ids, numbered in the order in which operators were told of their promotion, or they first served. */
  readonly #promotions = new Map<string, number>();
  /** Sites that acked writes which the line lacks: their histories have diverged from it (U57). */
  readonly diverged = new Set<string>();
  /** Sites that must not be overwritten by a generation before an operator's word, by its id (`surplus.ts`). */
  readonly surplus = new Map<string, Set<string>>();
  /** Generations that began with a whole image, by their ids: what was acked before and is there, they answer for. */
  readonly begunWhole = new Set<string>();
  /** Copies that had a session with the present reign when it began to serve, and a whole image. */
  readonly promotableAtStart = new Set<string>();
  readonly #knowledge: ReadonlyMap<string, SiteKnowledge>;
  /** Whether a primary's status has last called a copy one that takes sets, by both sites: a reload may change it. */
  readonly #takesSets = new Map<string, boolean>();

  constructor(group: GroupConfig) {
    this.group = group;
    this.oracle = new Oracle(group.durability);
    const bunkers = new Set(bunkersOf(group).map(({ site }) => site));
    this.sites = [group.primary, ...group.copies.keys()].filter((site) => !bunkers.has(site));
    this.#knowledge = new Map(
      this.sites.map((site, place) => [
        site,
        {
          bit: 1 << place,
          participant: false,
          well: false,
          complete: nothingComplete,
          unfedFrom: 0,
          isTorn: false,
          missedFrom: place === 0 ? Infinity : 0,
          missed: new Set(),
          powerLostAt: -1,
          wentBackAt: -1,
          wholeAt: -1,
          wholeUntil: -1,
          apartAt: 0,
          mayHoldLost: place > 0,
        },
      ]),
    );
  }

  of(site: string): SiteKnowledge {
    const knowledge = this.#knowledge.get(site);
    if (knowledge === undefined) throw new RangeError(`${site} is not of group ${this.group.name}`);
    return knowledge;
  }

  /** Takes note of what the serving primary says of its copies. Copies that have just become whole are named. */
  observe(primary: string, status: Pick<GroupStatus, "copies">): string[] {
    const joined: string[] = [];
    for (const copy of status.copies) {
      const known = this.of(copy.site);
      this.#noteMode(primary, copy, known);
      if (!sessionStates.includes(copy.state)) known.apartAt = this.oracle.tick;
      const isWell = isWellState(copy.state);
      if (isWell && !known.well) {
        if (!this.takesSets(primary, copy.site)) this.#noteWholeMirror(primary, known);
        known.missed.clear();
        known.mayHoldLost = false;
        known.isTorn = false;
        joined.push(copy.site);
      }
      known.well = isWell;
      known.participant = copy.state === "synchronized";
      if (this.takesSets(primary, copy.site)) this.#observeSets(known, copy);
    }
    return joined;
  }

  // What a mirror lost with its power a copy of sets still lacks, until it is whole by sets.
  #noteMode(primary: string, copy: CopyStatus, known: SiteKnowledge): void {
    const takes = takesSets(copy.mode);
    if (this.takesSets(primary, copy.site) !== takes) {
      known.isTorn = true;
      known.complete = nothingComplete;
    }
    this.#takesSets.set(`${primary} ${copy.site}`, takes);
  }

  #noteWholeMirror(primary: string, known: SiteKnowledge): void {
    known.missedFrom = Infinity;
    if (known.powerLostAt < known.wholeAt) known.powerLostAt = -1;
    if (known.wentBackAt < known.wholeAt) known.wentBackAt = -1;
    this.oracle.joined(this.of(primary).bit, known.bit);
  }

  #observeSets(known: SiteKnowledge, copy: CopyStatus): void {
    const { number } = this.oracle.reign;
    const isFed = !unfedStates.includes(copy.state);
    if (isFed) known.unfedFrom = Infinity;
    else if (known.unfedFrom === Infinity) known.unfedFrom = this.oracle.next();
    // Only of a whole image does this say what a takeover would find.
    if (copy.state !== "streaming" && copy.state !== "replaying" && copy.state !== "buffering")
      return;
    if (copy.state !== "streaming" && known.complete.reign !== number) return;
    const lsn =
      known.complete.reign === number ? Math.max(known.complete.lsn, copy.complete) : copy.complete;
    known.complete = { reign: number, lsn };
  }

  /** Whether a primary feeds a copy with sets: the site that was the first primary is fed on the terms of its successor. */
  takesSets(primary: string, copy: string): boolean {
    const { copies } = this.group;
    const told = this.#takesSets.get(`${primary} ${copy}`);
    if (told !== undefined) return told;
    const mode = (copies.get(copy) ?? copies.get(primary))?.mode;
    return mode !== undefined && policyTable[mode].unit === "set";
  }

  /** The same of a primary that does not serve: whoever becomes whole before it does, counts when it serves. */
  observeAbsent(status: GroupStatus): void {
    for (const copy of status.copies) {
      if (isWellState(copy.state)) continue;
      this.of(copy.site).participant = false;
      this.of(copy.site).well = false;
    }
  }

  /** Bits of the sites that take part in an ack of this primary now. */
  participants(primary: string): number {
    let bits = this.of(primary).bit;
    for (const site of this.sites)
      if (site !== primary && this.of(site).participant) bits |= this.of(site).bit;
    return bits;
  }

  /** The same of a primary that was succeeded and has not heard of it: itself, and whom its status calls well. */
  calledWell(primary: string, status: GroupStatus): number {
    let bits = this.of(primary).bit;
    for (const { site, state } of status.copies)
      if (this.sites.includes(site) && isWellState(state)) bits |= this.of(site).bit;
    return bits;
  }

  sitesOf(bits: number): string[] {
    return this.sites.filter((site) => (this.of(site).bit & bits) !== 0);
  }

  /**
   * A write was acked while these sites took part. Any other that lacks it lacks it from now on, and so does one that answered
   * and then lost its power, or was taken back to its branch.
   */
  acked(
    primary: string,
    write: WriteRecord,
    participants: number,
    lacks: (site: string) => boolean,
  ): void {
    for (const site of this.sites) {
      const known = this.of(site);
      const isAlone = (known.bit & participants) === 0 && lacks(site);
      // What was sent before the session was lost is resynced away (decision 9): only what came after counts as acked alone.
      const isUnfed = write.invokedTick > known.unfedFrom || !this.takesSets(primary, site);
      if (isAlone && isUnfed) known.missed.add(write);
      const forgot = site !== primary && (known.powerLostAt >= 0 || known.wentBackAt >= 0);
      if (isAlone || forgot) known.missedFrom = Math.min(known.missedFrom, write.ackedTick);
    }
  }

  /** The site has recorded that its image is whole: what it loses by a later loss of power is another loss. */
  noteWhole(site: string): void {
    this.of(site).wholeAt = this.oracle.next();
  }

  /** What the site has answered for is undone there, by its operator's word: its primary may still be about to hear of it. */
  wentBack(site: string, wasWhole: boolean): void {
    const known = this.of(site);
    known.wentBackAt = this.oracle.next();
    if (wasWhole) known.wholeUntil = known.wentBackAt;
  }

  /**
   * A primary hears that a copy is whole, and it is no more: it said so, went back to its branch, and the end of that session
   * is still on its way. What was overwritten was given up then. There is no such excuse for a session that began since it
   * went back, for a copy that was in the midst of a resync then, or for one that has recorded anew that it is whole.
   */
  isHeardLate(site: string): boolean {
    const { apartAt, wholeAt, wholeUntil } = this.of(site);
    return apartAt < wholeUntil && wholeAt < wholeUntil;
  }

  /** A site has lost its power, and its primary shows the session of before still: it is about to notice. */
  isLossUnheard(site: string): boolean {
    const { apartAt, powerLostAt } = this.of(site);
    return powerLostAt > apartAt;
  }

  powerLost(site: string): void {
    if (this.group.copies.get(site)?.mode === "bunker") {
      this.forgetful.add(site);
      // What was acked and not synced there is lost twice: no promise covers that.
      if (this.group.durability === "flush") this.bunkered?.bunkers.delete(site);
    }
    if (!this.sites.includes(site)) return;
    // Until the primary notices, its status says that the site takes part, and nothing can be acked without it.
    this.of(site).powerLostAt = this.oracle.next();
    if (this.oracle.reign.site === site) this.of(site).isTorn = true;
  }

  /**
   * The reign's site has started again and resolves what was open: no copy is known to be whole until its status says so.
   * After a loss of power its content rules (decision 5), so that it may bring the copies back to what it kept itself.
   */
  cameBack(site: string): void {
    const lostAt = this.of(site).powerLostAt;
    if (this.oracle.reign.site !== site) return;
    for (const other of this.sites) {
      const known = this.of(other);
      known.participant = false;
      known.well = false;
      if (lostAt < 0) continue;
      known.powerLostAt = Math.max(known.powerLostAt, lostAt);
      known.complete = nothingComplete;
      known.isTorn = true;
    }
  }

  /** What must be found at the site of the present reign when it serves again. */
  restartClaim(site: string): Claim {
    const { bit, powerLostAt } = this.of(site);
    return {
      site: bit,
      allAckedBefore: Infinity,
      powerLostAt,
      mayHoldLost: false,
      cut: powerLostAt < 0,
      asOf: Infinity,
    };
  }

  /** What must be found at a site that takes over. `byForce`: nothing is asked but content that hosts wrote. */
  takeoverClaim(site: string, byForce: boolean): Claim {
    const { bit, powerLostAt, missedFrom, mayHoldLost, isTorn, complete } = this.of(site);
    if (this.takesSets(this.oracle.reign.site, site)) {
      return {
        site: bit,
        allAckedBefore: byForce ? 0 : Infinity,
        powerLostAt: -1,
        mayHoldLost: true,
        cut: !byForce && !isTorn,
        asOf: Infinity,
        sets: {
          reign: complete.reign,
          completeLsn: complete.lsn,
          replayedTick: byForce ? 0 : (this.replayed.get(site) ?? 0),
        },
      };
    }
    return {
      site: bit,
      allAckedBefore: byForce ? 0 : missedFrom,
      powerLostAt,
      mayHoldLost: mayHoldLost || byForce || missedFrom < Infinity,
      cut: !byForce && missedFrom > 0 && (powerLostAt < 0 || this.group.durability === "write"),
      asOf: Infinity,
    };
  }

  /** Whether nobody may feed a site in that generation before an operator's word: it has acked writes that are not there. */
  mustStop(site: string, tenure: string): boolean {
    if (tenure === this.tenure && this.diverged.has(site)) return true;
    return this.surplus.get(tenure)?.has(site) === true;
  }

  /** The operator has spoken: what a site wrote by itself is given up, or is the line. */
  forgetSurplus(site: string): void {
    for (const sites of this.surplus.values()) sites.delete(site);
  }

  /** An operator was told of a promotion, or its generation serves: it comes after all that came before. */
  notePromotion(tenure: string): void {
    if (!this.#promotions.has(tenure)) this.#promotions.set(tenure, this.#promotions.size + 1);
  }

  /** A generation that another promotion has followed: what it acks is a branch. */
  isFormer(tenure: string): boolean {
    return (this.#promotions.get(tenure) ?? Infinity) < (this.#promotions.get(this.tenure) ?? 0);
  }

  /** An operator has chosen this site's image: what the others held of the line before says nothing of it. */
  chosenByForce(site: string): void {
    for (const other of this.sites) {
      if (other === site) continue;
      const known = this.of(other);
      known.missedFrom = 0;
      known.complete = nothingComplete;
      // The line itself may be of no one time now: it holds writes that these gave up, and lacks some that they hold.
      known.isTorn = true;
    }
  }

  /** A process serves at a site, and its image was judged: the line goes on from there. */
  beginReign(
    site: string,
    reign: {
      readonly generation: number;
      readonly tenure: string;
      readonly ancestry: readonly string[];
      readonly revivedFrom: number;
    },
  ): void {
    const { generation, tenure, ancestry, revivedFrom } = reign;
    this.notePromotion(tenure);
    this.ancestry = new Set(ancestry);
    this.generation = generation;
    this.tenure = tenure;
    this.replayed.clear();
    this.bunkered = undefined;
    const mine = this.of(site);
    for (const other of this.sites) {
      const known = this.of(other);
      if (other === site) continue;
      // Until it is whole again it may hold what this image has lost: unsynced writes, or those of another reign.
      known.participant = false;
      known.well = false;
      known.mayHoldLost = true;
      known.unfedFrom = 0;
      known.apartAt = this.oracle.tick;
      // What an earlier primary had lost in a power cut is there again: at that primary it is not.
      known.missedFrom = Math.min(known.missedFrom, revivedFrom);
    }
    mine.complete = nothingComplete;
    mine.isTorn = false;
    mine.well = false;
    mine.missedFrom = Infinity;
    mine.missed.clear();
    mine.powerLostAt = -1;
    mine.mayHoldLost = false;
    mine.participant = false;
  }
}
