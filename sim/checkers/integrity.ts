import type { Checker } from "../checker.ts";
import { sectorBytes } from "../disk-state.ts";
import { keyOf } from "../sector-key.ts";
import { alignedBytes, readStamp } from "../stamp.ts";
import type { World } from "../world.ts";

/**
 * Damaged bytes are never applied (I34): in a world whose network turns bits over, every sector that goes into an image
 * is looked at byte by byte before it does.
 */
export function integrityChecker(world: World): Checker {
  const isOn = world.swarm.faults.includes("flip");
  return {
    ids: ["I34"],
    onImageWrite(write) {
      if (!isOn || write.chunks === undefined) return;
      const aligned = alignedBytes(write.chunks, write.lengthBytes);
      world.count("checks:I34");
      for (let at = 0; at + sectorBytes <= aligned.length; at += sectorBytes) {
        const sector = (write.offset + at) / sectorBytes;
        const held = readStamp(aligned, at, { volume: write.volume, sector }, true);
        // What has rotted at the primary is brought over as it is there now.
        if (held.kind === "write" || write.line.rotten.has(keyOf(write.volume, sector))) continue;
        world.report(
          "I34",
          `${write.machine.name} puts into volume ${write.volume} sector ${sector}: ${held.what}`,
        );
        return;
      }
    },
  };
}
