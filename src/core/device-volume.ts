import type { FlushRound, Primary, Volume } from "./primary-state.ts";

// A volume on a device behind a link, as the machine of the primary sees it (SPEC-gateway.md). What its image would answer, the
// journal does: a write is answered, and a FLUSH, when that has it. What rests on the image's own sync waits for the device:
// granules close, and the journal lets go, once it has flushed (decision 17).

/** Granules are waiting to be closed by these rounds, the oldest and the newest of all that there were. */
export type VolumeDevice = {
  readonly rounds: { readonly round: FlushRound; readonly lsn: number }[];
  /** The device has flushed since this start: what an earlier role left there unflushed is durable, too. */
  hasFlushed: boolean;
};

/** Where a volume on a device stands at a start: its last entry in the journal, and what the device has flushed of it. */
export type DeviceFound = { readonly lastLsn: number; readonly coveredLsn: number };

/** A round has begun: it closes granules only when the device has flushed what the volume has by now. */
export function awaitDevice(volume: Volume, device: VolumeDevice, round: FlushRound): void {
  if (device.hasFlushed && isCovered(volume)) return;
  const { rounds } = device;
  round.closeLegs += 1;
  // The newest closes all that those between would have.
  if (rounds.length > 1) rounds.pop();
  rounds.push({ round, lsn: volume.lastLsn });
}

/** The rounds that the device's flush is enough for. */
export function roundsCovered({ flush }: Volume, { rounds }: VolumeDevice): FlushRound[] {
  const covered = rounds.filter(({ lsn }) => lsn <= flush.coveredLsn);
  rounds.splice(0, covered.length);
  return covered.map(({ round }) => round);
}

/** Everything that was written to the volume is synced where it lies. */
export function isCovered({ flush, lastLsn }: Volume): boolean {
  return flush.coveredLsn >= lastLsn;
}

/** No device lacks anything: nothing is in the journal alone. */
export function areDevicesCovered({ volumes }: Primary): boolean {
  return volumes.every((volume) => volume.device === undefined || isCovered(volume));
}
