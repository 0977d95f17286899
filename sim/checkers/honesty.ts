import { hasSets } from "./sets.ts";
import type { Checker } from "../checker.ts";
import { sectorBytes } from "../disk-state.ts";
import type { Line } from "../line.ts";
import { coversSector, logsOf } from "../log-view.ts";
import type { CopyStatus } from "#site/api.ts";
import type { World } from "../world.ts";

const sectorsPerSample = 48;

/**
 * Status never claims better than the truth (I33, N8): a copy called synchronized has every acked write, and for any
 * other the figures of what it lacks are upper bounds.
 */
export function honestyChecker(world: World): Checker {
  const rng = world.rng.fork("honesty");

  function judgeCopy(line: Line, copy: CopyStatus): void {
    const { oracle } = line;
    // Somebody else has been promoted, and feeds it already: the primary of the line is about to hear of it.
    const record = world.inspector(copy.site, line).record("current");
    if (record.kind === "found" && record.record.history.at(-1)?.id !== line.tenure) return;
    // Its operator takes it back to what it was, and it is no copy any more.
    if (record.kind === "found" && record.record.branch?.phase === "undoing") return;
    // It has lost what was not synced, and the primary may still be about to notice.
    const isUnheard = !world.machine(copy.site).isUp() || line.isLossUnheard(copy.site);
    if ((copy.state === "synchronized" || isUnheard) && line.of(copy.site).powerLostAt >= 0) return;
    const image = world.imagesOf(copy.site, line);
    const lacked = new Set<string>();
    const takesSets = line.takesSets(line.oracle.reign.site, copy.site);
    const isStaged = (volume: number, sector: number): boolean =>
      hasSets(line) &&
      coversSector(logsOf(world, line)(copy.site, "staging", "current"), volume, sector);
    for (let i = 0; i < sectorsPerSample; i += 1) {
      const place = oracle.drawSector(rng);
      const newest = place === undefined ? undefined : oracle.newestAcked(place[0], place[1]);
      if (place === undefined || newest === undefined) continue;
      const [volume, sector] = place;
      const candidates = oracle.candidates(volume, sector, image.held(volume, sector));
      if (candidates.some((held) => !oracle.isSurelyOlder(held, newest))) continue;
      if (copy.state === "synchronized") {
        world.report(
          "I33",
          `status calls ${copy.site} synchronized, and it lacks write ${newest.id} in volume ${volume} sector ${sector}`,
        );
        return;
      }
      // A copy of sets that was started again writes what is staged once more, oldest first.
      if (isStaged(volume, sector)) continue;
      lacked.add(`${volume}/${sector}`);
    }
    world.count("checks:I33");
    if (copy.image === "none" || copy.state === "init-sync") return;
    const lackedBytes = lacked.size * sectorBytes;
    const lagBytes = copy.lagBytes + copy.applyLagBytes;
    const lagWrites = copy.lagWrites + copy.applyLagWrites;
    // What a copy of sets lacks is in the journal, or in its staging, and no region is dirty for that.
    if (
      (copy.dirtyBytes < lackedBytes && !takesSets) ||
      lagBytes < lackedBytes ||
      (lackedBytes > 0 && lagWrites === 0)
    ) {
      world.report(
        "N8",
        `status says that ${copy.site} (${copy.state}) may lack ${copy.dirtyBytes} bytes and lags by ${lagBytes} bytes ` +
          `and ${lagWrites} writes, and it lacks at least ${lackedBytes} bytes of acked writes`,
      );
    }
  }

  return {
    ids: ["I33", "N8"],
    onSample() {
      for (const line of world.lines.values()) {
        const { reign } = line.oracle;
        const machine = world.machines.get(reign.site);
        if (machine?.process?.life !== reign.life || machine.process.paused) continue;
        const status = world.status(machine, line.group.name);
        if (status?.role !== "primary" || !status.serving) continue;
        world.count("checks:N8");
        for (const copy of status.copies) judgeCopy(line, copy);
      }
    },
  };
}
