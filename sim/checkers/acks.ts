import type { Ack, Checker } from "../checker.ts";
import type { View } from "../disk-state.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import type { World } from "../world.ts";

/**
 * What an ack promises, looked up at the instant it is given in the images of all who take part (I1, I3, I4).
 *
 * At level `flush` an acked write is in the page cache of every participant, so that any number of process deaths leave
 * it there; a write that FLUSH, FUA or level `write` covers is on their platters. A copy with `onLoss: stall` or `fail`
 * has every acked write in whatever state it is, unless the operator has paused it.
 */
export function ackChecker(world: World): Checker {
  /** When a copy was last let go by an operator's pause: writes from before went on without it by his word. */
  const pausedUntil = new Map<string, number>();

  function mustHold(ack: Ack, write: WriteRecord, view: View, why: string): void {
    for (const site of ack.line.sitesOf(ack.participants)) {
      if (ack.line.of(site).wentBackAt >= 0) continue;
      // A copy may lose its power between its answer and the reply that rests on it; only what was synced is still there.
      if (view === "current" && ack.line.of(site).powerLostAt >= 0) continue;
      const missing = ack.line.oracle.lacks(world.imagesOf(site, ack.line, view), write);
      if (missing === undefined) continue;
      const isHere = site === ack.machine.name;
      const held = missing.held.kind === "alien" ? missing.held.what : `write ${missing.held.id}`;
      world.report(
        view === "durable" || isHere ? "I1" : "I3",
        `${describe(write)} ${why}, and ${site} ${view === "durable" ? "would lose it with its power" : "lacks it"}: ` +
          `sector ${missing.sector} of volume ${write.volume} holds ${held}`,
      );
      return;
    }
  }

  function strictMustHold(ack: Ack, write: WriteRecord): void {
    for (const copy of ack.status.copies) {
      const config = ack.line.group.copies.get(copy.site);
      const isStrict = config !== undefined && config.onLoss !== "continue";
      // Paused and stopped copies are the operator's doing; the plan of a promotion says that the old primary has
      // nothing.
      if (
        !isStrict ||
        copy.state === "paused" ||
        copy.state === "stopped" ||
        copy.state === "split-brain"
      )
        continue;
      // It may have lost its power between its answer and the reply, or been taken back to its branch.
      const { powerLostAt, wentBackAt } = ack.line.of(copy.site);
      if (powerLostAt >= 0 || wentBackAt >= 0) continue;
      if ((pausedUntil.get(`${ack.line.group.name} ${copy.site}`) ?? -1) > write.invokedTick)
        continue;
      world.count("checks:I4");
      const missing = ack.line.oracle.lacks(world.imagesOf(copy.site, ack.line), write);
      if (missing === undefined) continue;
      world.report(
        "I4",
        `${describe(write)} was acked while ${copy.site} (${config.onLoss}, ${copy.state}) lacks it`,
      );
    }
  }

  return {
    ids: ["I1", "I3", "I4"],
    onEvent(_machine, event) {
      const line = world.lines.get(event.group);
      if (line === undefined || event.from !== "paused" || event.copy === undefined) return;
      pausedUntil.set(`${event.group} ${event.copy}`, line.oracle.next());
    },
    onWriteAcked(write, ack) {
      if (!ack.onLine) return;
      world.count("checks:I1");
      world.count(
        ack.participants === ack.line.of(ack.machine.name).bit
          ? "situations:acked alone"
          : "checks:I3",
      );
      mustHold(ack, write, "current", "was acked");
      if (ack.forced) mustHold(ack, write, "durable", "was acked as durable");
      strictMustHold(ack, write);
    },
    onFlushAcked(_flush, covered, ack) {
      world.count("situations:flush acked");
      for (const write of covered) mustHold(ack, write, "durable", "was flushed");
    },
  };
}
