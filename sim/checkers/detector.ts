import type { Checker } from "../checker.ts";
import { isWellState } from "../line.ts";
import type { Line } from "../line.ts";
import type { World } from "../world.ts";

/** A site may look at its clock only once a tick, and an event needs its time. */
const slackMs = 400;
/** Links slower than this carry a burst longer than a short probe timeout: losing a copy there is not a false alarm. */
const fastLinkBytesPerSecond = 1e8;

/**
 * The failure detector (I35): no copy is lost while nothing is wrong, and a silent link is noticed within the timeout
 * plus one probe interval.
 */
export function detectorChecker(world: World): Checker {
  function timing(line: Line, copy: string): { quietMs: number; noticeMs: number } {
    const config = line.group.copies.get(copy);
    const { timeoutMs, probeMs, ackTimeoutMs } = config ?? {
      timeoutMs: 3000,
      probeMs: 500,
      ackTimeoutMs: 10_000,
    };
    return {
      quietMs: 2 * timeoutMs + ackTimeoutMs + 2000,
      noticeMs: timeoutMs + 2 * probeMs + slackMs,
    };
  }

  function judgeSilence(line: Line, primary: string, copy: string): void {
    const { scheduler, network } = world;
    const { noticeMs } = timing(line, copy);
    const links = [network.link(primary, copy), network.link(copy, primary)];
    const downSinceUs = Math.max(
      0,
      ...links.filter((link) => link.down).map((link) => link.changedUs),
    );
    if (!links.some((link) => link.down)) return;
    const awakeSinceUs = world.machine(primary).process?.releasedUs ?? 0;
    const silentMs = (scheduler.nowUs - Math.max(downSinceUs, awakeSinceUs)) / 1000;
    if (silentMs <= noticeMs * 1.05) return;
    world.count("checks:I35");
    world.report(
      "I35",
      `nothing has passed between ${primary} and ${copy} for ${Math.round(silentMs)} ms, and it still counts as well`,
    );
  }

  return {
    ids: ["I35"],
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (line === undefined || event.copy === undefined || !isWellState(event.from ?? "")) return;
      // That its journal was too small, or what it keeps of an older image has no room, is no failure of a detector's.
      if (event.to === "tripped" || /of preserve\.bytesMax/.test(event.why)) return;
      world.count("checks:I35");
      if (world.swarm.network.bytesPerSecond < fastLinkBytesPerSecond) return;
      const quietMs = (world.scheduler.nowUs - world.troubleUs) / 1000;
      if (quietMs <= timing(line, event.copy).quietMs) return;
      world.report(
        "I35",
        `${machine.name} lost ${event.copy} (${event.why}) though nothing had gone wrong for ${Math.round(quietMs)} ms`,
      );
    },
    onSample() {
      for (const line of world.lines.values()) {
        const { reign } = line.oracle;
        const machine = world.machines.get(reign.site);
        if (machine?.process?.life !== reign.life || machine.process.paused) continue;
        const status = world.status(machine, line.group.name);
        if (status?.serving !== true) continue;
        for (const copy of status.copies) {
          if (isWellState(copy.state)) judgeSilence(line, reign.site, copy.site);
        }
      }
    },
  };
}
