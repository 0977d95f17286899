import type { Checker } from "../checker.ts";
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
      readonly life: number;
    }
  >();
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
      const { reign } = line.oracle;
      if (reign.life !== machine.process?.life) return;
      for (const copy of status.copies) {
        const key = `${line.group.name} ${copy.site}`;
        const last = watermarks.get(key);
        const { applied, received } = copy;
        if (copy.state !== "synchronized") {
          // A resync or a lost session starts the count anew, and the event log says so.
          watermarks.delete(key);
          continue;
        }
        world.count("checks:I14");
        if (
          last !== undefined &&
          last.reign === reign.number &&
          (applied < last.applied || received < last.received)
        ) {
          world.report(
            "I14",
            `${copy.site} went back from lsn ${last.received}/${last.applied} to ${received}/${applied} while synchronized`,
          );
        }
        watermarks.set(key, { applied, received, reign: reign.number, life: reign.life });
      }
    },
  };
}
