import { limits } from "#base/limits.ts";
import { whyHeldUp } from "./held-up.ts";
import { isCrowded } from "./journal.ts";
import { noRoom } from "./journal-room.ts";
import { inMiB } from "./point.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { FullSpell, Primary } from "./primary-state.ts";

// What people are told of a journal that is full: when hosts begin to wait or to be refused, and when that is over. Room comes
// and goes segment by segment, so what is full again soon was full all the time: one spell, and a word or two of it.

/** A host's write has found the journal full: it waits, or is refused. */
export function noteFull(primary: Primary, verdict: "wait" | "fail", out: PrimaryEffect[]): void {
  const { journal, nowMs } = primary;
  // Hosts that are slowed down wait, too, and not for room.
  if (journal === undefined || !isCrowded(journal)) return;
  primary.fullSpell ??= { sinceMs: nowMs, lastMs: nowMs, waitedMs: 0, refused: 0, told: "room" };
  const spell = primary.fullSpell;
  spell.lastMs = nowMs;
  if (verdict === "wait") return;
  spell.refused += 1;
  if (spell.told !== "refusing") tell(primary, spell, "refusing", out);
}

/** At each tick: tells of writes that have waited for longer than a sync takes, and of the end of it. */
export function tickFull(primary: Primary, elapsedMs: number, out: PrimaryEffect[]): void {
  const { journal, fullSpell: spell, nowMs } = primary;
  if (spell === undefined) return;
  if (journal !== undefined && isCrowded(journal)) {
    spell.lastMs = nowMs;
    if (primary.held.length > 0) spell.waitedMs += elapsedMs;
    if (spell.told === "room" && spell.waitedMs >= limits.fullToldMs)
      tell(primary, spell, "stalling", out);
    return;
  }
  if (nowMs - spell.lastMs < limits.fullOverMs) return;
  primary.fullSpell = undefined;
  if (spell.told === "room") return;
  const { sinceMs, lastMs, waitedMs, refused } = spell;
  const why =
    `the journal has room again: it was full for ${seconds(lastMs - sinceMs)}; ` +
    `writes waited for ${seconds(waitedMs)} of that, and ${refused} were refused (ENOSPC)`;
  out.push({ kind: "event", event: { kind: "journal", from: spell.told, to: "room", why } });
}

function tell(
  primary: Primary,
  spell: FullSpell,
  to: "stalling" | "refusing",
  out: PrimaryEffect[],
): void {
  const { bytesUsed, bytesMax } = primary.journal ?? { bytesUsed: 0, bytesMax: 0 };
  const how = to === "refusing" ? " (ENOSPC)" : `, ${primary.held.length} of them now`;
  const used = `${inMiB(bytesUsed)} of ${inMiB(bytesMax)} are used, the rest is for what is on its way`;
  const why = `${whyHeldUp(noRoom(primary))}${how}; ${used}`;
  out.push({ kind: "event", event: { kind: "journal", from: spell.told, to, why } });
  spell.told = to;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
