import type { CopyStatus } from "#site/api.ts";
import type { Checker } from "../checker.ts";
import type { Line } from "../line.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import type { World } from "../world.ts";

/**
 * The one order (I8, I14, trap 5): LSNs extend real time, none is used twice in a generation, and what a copy is said
 * to have never goes back without a resync that says so.
 */
export function orderChecker(world: World): Checker {
  /** Highest LSN acked so far, per group and reign: whoever is invoked later must be above. */
  const newestAcked = new Map<string, WriteRecord>();
  const byLsn = new Map<string, WriteRecord>();
  const watermarks = new Map<
    string,
    {
      readonly applied: number;
      readonly received: number;
      readonly reign: number;
      readonly generation: number;
    }
  >();

  function judgeWatermarks(
    line: Line,
    { primary, generation }: { readonly primary: string; readonly generation: number },
    copy: CopyStatus,
  ): void {
    const reign = line.oracle.reign.number;
    const key = `${line.group.name} ${copy.site}`;
    const last = watermarks.get(key);
    const takesSets = line.takesSets(primary, copy.site);
    // What a copy of sets has applied goes back with a loss of its power; what is complete there does not.
    const { received } = copy;
    const applied = takesSets ? copy.complete : copy.applied;
    const counted = takesSets ? ["streaming", "replaying", "buffering"] : ["synchronized"];
    // A resync, or a mirror's lost session, starts the count anew, and the event log says so.
    if (!counted.includes(copy.state)) return void watermarks.delete(key);
    world.count("checks:I14");
    const isSame = last?.reign === reign && last.generation === generation;
    if (isSame && (applied < last.applied || received < last.received)) {
      world.report(
        "I14",
        `${copy.site} went back from lsn ${last.received}/${last.applied} to ${received}/${applied} while ${copy.state}`,
      );
    }
    watermarks.set(key, { applied, received, reign, generation });
  }

  return {
    ids: ["I8", "I14"],
    onWriteAcked(write, ack) {
      const lsn = write.request?.lsn ?? 0;
      const group = ack.line.group.name;
      world.count("checks:I8");
      if (lsn === 0)
        world.report("I8", `${describe(write)} was acked without a place in the order`);
      const key = `${group} ${ack.status.generation} ${ack.machine.name} ${lsn}`;
      const twin = byLsn.get(key);
      if (twin !== undefined)
        world.report("I8", `${describe(write)} and ${describe(twin)} share an LSN`);
      byLsn.set(key, write);
      // Off the line each process goes its own way.
      const reignKey = `${group} ${write.reign < 0 ? `branch of ${write.life}` : write.reign}`;
      const newest = newestAcked.get(reignKey);
      if (
        newest !== undefined &&
        newest.ackedTick < write.invokedTick &&
        (newest.request?.lsn ?? 0) > lsn
      ) {
        world.report(
          "I8",
          `${describe(write)} was made after ${describe(newest)} was acked, and ordered before it`,
        );
      }
      if (newest === undefined || (newest.request?.lsn ?? 0) < lsn)
        newestAcked.set(reignKey, write);
    },
    onStatus(machine, line, status) {
      if (line.oracle.reign.life !== machine.process?.life) return;
      for (const copy of status.copies)
        judgeWatermarks(line, { primary: machine.name, generation: status.generation }, copy);
    },
  };
}
