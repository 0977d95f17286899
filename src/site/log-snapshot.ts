import { joined } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import type { Clock } from "#ports/clock.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import type { LogPlace } from "#store/log.ts";
import { segmentOfName } from "#store/log-format.ts";

// A folder on a path as it is read by somebody who must change nothing there: another machine may write to it still. What is
// written here stays in memory, and is read back from there.

type Patch = { readonly offset: number; readonly bytes: Uint8Array };

type Snapshot = {
  readonly folder: Folder;
  readonly clock: Clock;
  /** The log of this name ends there, whatever has been written behind that place since. */
  readonly end: { readonly name: string; readonly place: LogPlace } | undefined;
  readonly patches: Map<string, Patch[]>;
  /** Names that are here alone, and names that are not here any more. */
  readonly made: Set<string>;
  readonly gone: Set<string>;
};

export function snapshotOf(
  folder: Folder,
  clock: Clock,
  end: { readonly name: string; readonly place: LogPlace } | undefined,
): Folder {
  const snapshot: Snapshot = {
    folder,
    clock,
    end,
    patches: new Map(),
    made: new Set(),
    gone: new Set(),
  };
  const isThere = (name: string): boolean =>
    !snapshot.gone.has(name) && !isBehindEnd(snapshot, name) && folder.exists(name);
  return {
    path: folder.path,
    list: () => [...folder.list().filter((name) => isThere(name)), ...snapshot.made],
    exists: (name) => snapshot.made.has(name) || isThere(name),
    open(name) {
      if (!isThere(name)) {
        snapshot.made.add(name);
        return openOver(snapshot, name, undefined);
      }
      const file = folder.open(name);
      return isFailure(file) ? file : openOver(snapshot, name, file);
    },
    remove(name) {
      snapshot.made.delete(name);
      snapshot.patches.delete(name);
      snapshot.gone.add(name);
      return undefined;
    },
    rename: (from) => ({
      code: "EROFS",
      message: `${folder.path}/${from}: nothing is renamed in a folder that is only read`,
    }),
    sync: (done) => clock.soon(() => done(undefined)),
  };
}

function isBehindEnd({ end }: Snapshot, name: string): boolean {
  if (end === undefined) return false;
  return (segmentOfName(end.name, name) ?? 0) > end.place.segment;
}

function openOver(snapshot: Snapshot, name: string, file: File | undefined): File {
  const { end, clock, folder } = snapshot;
  const patches = snapshot.patches.get(name) ?? [];
  snapshot.patches.set(name, patches);
  const isLast = end !== undefined && segmentOfName(end.name, name) === end.place.segment;
  const bytesMax = isLast ? end.place.byte : Number.POSITIVE_INFINITY;
  const below = (): number => Math.min(file?.bytes() ?? 0, bytesMax);
  const patch = (offset: number, into: Uint8Array): void => {
    if (offset + into.length > below()) into.fill(0, Math.max(0, below() - offset));
    for (const one of patches) patchInto(one, offset, into);
  };
  const bytes = (): number =>
    patches.reduce((most, one) => Math.max(most, one.offset + one.bytes.length), below());
  const read = (offset: number, into: Uint8Array): IoFailure | undefined => {
    const failure = file?.read(offset, into);
    patch(offset, into);
    return failure;
  };
  return {
    path: `${folder.path}/${name}`,
    bytes,
    read,
    readLater(offset, into, done) {
      const ended = (failure: IoFailure | undefined): void => {
        patch(offset, into);
        done(failure);
      };
      if (file === undefined) clock.soon(() => ended(undefined));
      else file.readLater(offset, into, ended);
    },
    write(offset, chunks) {
      const written = joined(chunks);
      const there = new Uint8Array(written.length);
      const failure = read(offset, there);
      // A log is opened by writing again what is there already.
      const isThere = offset + written.length <= bytes() && isEqual(there, written);
      if (failure === undefined && !isThere) patches.push({ offset, bytes: written.slice() });
      return failure;
    },
    allocate: () => "unsupported",
    sync: (done) => clock.soon(() => done(undefined)),
    close: () => file?.close(),
  };
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}

function patchInto(patch: Patch, offset: number, into: Uint8Array): void {
  const from = Math.max(offset, patch.offset);
  const until = Math.min(offset + into.length, patch.offset + patch.bytes.length);
  if (from >= until) return;
  into.set(patch.bytes.subarray(from - patch.offset, until - patch.offset), from - offset);
}
