const SECTOR_KEYS = 0x1000_0000;

/** One number for a sector of a group's volumes. */
export function keyOf(volume: number, sector: number): number {
  return volume * SECTOR_KEYS + sector;
}

/** Volume and sector of such a number. */
export function placeOf(key: number): readonly [number, number] {
  return [Math.floor(key / SECTOR_KEYS), key % SECTOR_KEYS];
}
