import type { GroupConfig } from "#config/types.ts";
import { imagesPath } from "./disk-image.ts";
import { inodeAt, sectorBytes } from "./disk-state.ts";
import type { DiskState, Inode, View } from "./disk-state.ts";
import { imageName } from "./machine.ts";
import { pageAt, pageBytes, readPages } from "./pages.ts";
import { readStamp } from "./stamp.ts";
import type { Held } from "./stamp.ts";

const sectorsPerPage = pageBytes / sectorBytes;
const nothing: Held = { kind: "write", id: 0 };

/** All volumes of a group at one site, read sector by sector straight from the disk's data. */
export type ImageView = {
  readonly site: string;
  held(volume: number, sector: number): Held;
  /** Calls back for every sector that is stored at all, in no particular order. */
  forEachStored(visit: (volume: number, sector: number, held: Held) => void): void;
};

/** `deep` looks at every byte of a sector instead of its two ends. */
export function viewImages(options: {
  disk: DiskState;
  site: string;
  group: GroupConfig;
  view: View;
  deep?: boolean;
}): ImageView {
  const { disk, site, group, view } = options;
  const deep = options.deep === true;
  const inodes = group.volumes.map((volume) =>
    inodeAt(disk, imagesPath, imageName(group.name, volume.name), "current"),
  );
  const read = (inode: Inode | undefined, volume: number, sector: number): Held => {
    const page = pageOf(inode, view, Math.floor(sector / sectorsPerPage));
    if (page === undefined) return nothing;
    return readStamp(page, (sector % sectorsPerPage) * sectorBytes, { volume, sector }, deep);
  };
  return {
    site,
    held: (volume, sector) => read(inodes[volume], volume, sector),
    forEachStored(visit) {
      inodes.forEach((inode, volume) => {
        const pages = view === "current" ? inode?.current : inode?.durable;
        for (const index of pages?.byIndex.keys() ?? []) {
          for (let i = 0; i < sectorsPerPage; i += 1) {
            const sector = index * sectorsPerPage + i;
            visit(volume, sector, read(inode, volume, sector));
          }
        }
      });
    },
  };
}

function pageOf(inode: Inode | undefined, view: View, index: number): Uint8Array | undefined {
  if (inode === undefined) return undefined;
  return pageAt(view === "current" ? inode.current : inode.durable, index);
}

/** The first sectors, at most `limit`, in which two sites' images differ by as much as a byte. */
export function differences(
  first: { disk: DiskState; view: View },
  second: { disk: DiskState; view: View },
  group: GroupConfig,
  limit: number,
): { volume: number; sector: number }[] {
  const found: { volume: number; sector: number }[] = [];
  group.volumes.forEach((config, volume) => {
    const name = imageName(group.name, config.name);
    const a = inodeAt(first.disk, imagesPath, name, "current");
    const b = inodeAt(second.disk, imagesPath, name, "current");
    const indexes = [...storedPages(a, first.view)];
    for (const index of storedPages(b, second.view))
      if (pageOf(a, first.view, index) === undefined) indexes.push(index);
    for (const index of indexes) {
      const pageA = pageOf(a, first.view, index) ?? emptyPage;
      const pageB = pageOf(b, second.view, index) ?? emptyPage;
      if (pageA === pageB || Buffer.compare(pageA, pageB) === 0) continue;
      for (let i = 0; i < sectorsPerPage; i += 1) {
        const [from, to] = [i * sectorBytes, (i + 1) * sectorBytes];
        if (Buffer.compare(pageA.subarray(from, to), pageB.subarray(from, to)) === 0) continue;
        found.push({ volume, sector: index * sectorsPerPage + i });
        if (found.length >= limit) return;
      }
    }
  });
  return found;
}

/** A range of an image as a disk has it now. */
export function unitOfImage(
  disk: DiskState,
  group: GroupConfig,
  { volume, offset, length }: { volume: number; offset: number; length: number },
): Uint8Array {
  const unit = new Uint8Array(length);
  const name = imageName(group.name, group.volumes[volume]?.name ?? "");
  const inode = inodeAt(disk, imagesPath, name, "current");
  if (inode !== undefined) readPages(inode.current, offset, unit);
  return unit;
}

const emptyPage = new Uint8Array(pageBytes);

function storedPages(inode: Inode | undefined, view: View): Iterable<number> {
  if (inode === undefined) return [];
  return (view === "current" ? inode.current : inode.durable).byIndex.keys();
}
