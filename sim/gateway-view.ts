import { sectorBytes } from "./disk-state.ts";
import type { View } from "./disk-state.ts";
import type { ImageView } from "./image-view.ts";
import { journalWrites } from "./log-view.ts";
import type { LoggedWrite } from "./log-view.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { alignedBytes, readStamp } from "./stamp.ts";
import type { Held } from "./stamp.ts";

const nothing: Held = { kind: "write", id: 0 };

/**
 * What hosts find at a primary whose volumes lie on devices: the journal over the device (SPEC-gateway.md). Every other site's
 * images are what lies there.
 */
export function behindJournal(
  machine: Machine,
  line: Line,
  { image, view, journalId }: { image: ImageView; view: View; journalId: number },
): ImageView {
  const group = line.group.name;
  const onDevice = line.group.volumes.map(({ name }) => machine.devices.has(`${group}/${name}`));
  const newestFirst = journalWrites(machine.disk.state, { group, logId: journalId, view })
    .filter(({ volume }) => onDevice[volume] === true)
    .reverse();
  const held = (volume: number, sector: number): Held => {
    const found = newestFirst.find((write) => write.volume === volume && covers(write, sector));
    return found === undefined ? image.held(volume, sector) : heldOf(found, sector);
  };
  return {
    site: image.site,
    held,
    forEachStored(visit) {
      const seen = new Set<string>();
      const see = (volume: number, sector: number): void => {
        const key = `${volume} ${sector}`;
        if (seen.has(key)) return;
        seen.add(key);
        visit(volume, sector, held(volume, sector));
      };
      for (const { volume, offset, length } of newestFirst)
        for (let at = offset; at < offset + length; at += sectorBytes)
          see(volume, at / sectorBytes);
      image.forEachStored(see);
    },
  };
}

function covers({ offset, length }: LoggedWrite, sector: number): boolean {
  const at = sector * sectorBytes;
  return offset <= at && at < offset + length;
}

function heldOf({ volume, offset, read }: LoggedWrite, sector: number): Held {
  const bytes = read(sector * sectorBytes - offset, sectorBytes);
  if (bytes === undefined) return nothing;
  return readStamp(alignedBytes([bytes], sectorBytes), 0, { volume, sector }, false);
}
