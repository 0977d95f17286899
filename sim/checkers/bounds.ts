import { policyTable } from "#core/policy.ts";
import { limits } from "#base/limits.ts";
import type { Checker } from "../checker.ts";
import type { Line } from "../line.ts";
import type { World } from "../world.ts";
import { hasSets } from "./sets.ts";

/** Timers that one process may have at a time, files in one folder: far above what a sound engine needs. */
const timersMax = 200;
const filesPerMemberMax = 8;

/**
 * Nothing grows without end (I36, N6): queues, maps, timers and files stay within their limits in every state. And a primary
 * that has served does not fail because the disk under its journal is full: that is an overflow (I25, row 40). One that was
 * started on a full disk may: a power cut can take the room that its record had.
 */
export function boundsChecker(world: World): Checker {
  const openAtStart = new Map<string, number>();
  const served = new Set<string>();
  const beganFull = new Set<string>();
  return {
    ids: ["I25", "I36", "N6"],
    onEvent(machine, event) {
      const life = `${event.group} ${machine.process?.life}`;
      if (event.kind === "serving") served.add(life);
      const isFull = event.kind === "journal-disk" && event.to === "full";
      if (isFull && !served.has(life)) beganFull.add(life);
      if (event.kind !== "journal-disk" && event.to !== "failed") return;
      world.count("checks:I25");
      const isOfRoom = event.kind === "role" && /no space left/.test(event.why);
      const line = world.line(event.group);
      if (isOfRoom && served.has(life) && !beganFull.has(life) && hasSets(line))
        world.report("I25", `${machine.name} has failed for want of room: ${event.why}`);
    },
    onSample() {
      for (const machine of world.machines.values()) {
        const { process } = machine;
        if (process === undefined) continue;
        world.count("checks:N6");
        if (process.timers > timersMax)
          world.report("N6", `${machine.name} has ${process.timers} timers`);
        const connections = world.network.connectionsOf(process);
        // While a process stands still, and until it has looked at them, those that the others gave up pile up; and when a
        // link is back, dials that were given up meanwhile arrive, and nobody owns their near ends.
        const held = connections.filter(
          (one) => one.isStarted() && one.peer?.isStarted() === true && one.peer.isOpen(),
        ).length;
        // With each site two inquiries and, for each group, a session either way; and some whose handshake still hangs.
        const usual = (4 + 2 * world.lines.size) * world.swarm.sites.length;
        if (!process.paused && held > usual + lanesMax(world)) {
          world.report("N6", `${machine.name} has ${held} connections`);
        }
        for (const connection of connections) {
          const queued = connection.queuedBytes();
          const most = limits.sessionOutstandingBytesMax + limits.resyncWindowBytes + slackBytes;
          if (queued > most)
            world.report(
              "N6",
              `${machine.name} has ${queued} bytes waiting for ${connection.remote}`,
            );
        }
        for (const line of world.lines.values()) {
          const files = machine.disk.folder(line.group.name).names.size;
          const segments = hasSets(line) ? segmentsMax(line) : 0;
          const most = filesPerMemberMax * line.sites.length * line.group.volumes.length + segments;
          if (files > most)
            world.report("N6", `${machine.name} keeps ${files} files for group ${line.group.name}`);
        }
      }
    },
    onStatus(machine, line, status) {
      // A copy has open what some other member may lack (decision 4), and begins as primary with that.
      if (status.role !== "primary") return;
      // One that still opens its journal says nothing of its map yet.
      if (status.copies.some((copy) => copy.site === machine.name)) return;
      world.count("checks:I36");
      const reign = `${line.group.name} ${status.generation} ${machine.process?.life}`;
      const inherited = openAtStart.get(reign) ?? status.openGranules;
      openAtStart.set(reign, inherited);
      const granules = Math.ceil(world.requestBytesMax / limits.openGranuleBytes) + 1;
      const most = Math.max(limits.openGranulesMax, inherited) + granules;
      if (status.openGranules > most) {
        world.report(
          "I36",
          `${machine.name} has ${status.openGranules} granules of ${line.group.name} open, ${limits.openGranulesMax} are allowed`,
        );
      }
    },
  };
}

/** Connections that sessions may have beside their first: those of a session that has just ended may still be ending. */
function lanesMax(world: World): number {
  let lanes = 0;
  for (const line of world.lines.values())
    for (const { mode, connections } of line.group.copies.values())
      if (policyTable[mode].unit === "set") lanes += 2 * connections * line.sites.length;
  return lanes;
}

function segmentsMax(line: Line): number {
  const { bytesMax } = line.group.journal;
  const journal = bytesMax / Math.min(limits.journalSegmentBytes, bytesMax / 4);
  return journal + limits.stagingBytesMax / limits.stagingSegmentBytes;
}

/** What one host request adds at most beyond a limit that it was still under. */
const slackBytes = 128 << 10;
