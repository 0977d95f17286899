import { assert, must } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import type { File, Folder } from "#ports/file.ts";

/**
 * A folder in memory that remembers what was done to it, in order, and what of that would survive a power cut: only
 * what was synced.
 */
export type MemoryFolder = Folder & {
  /**
   * `open NAME`, `write NAME OFFSET+BYTES`, `sync NAME`, `synced NAME`, `remove NAME`, `rename NAME NAME`, and `.` for the
   * folder itself.
   */
  readonly ops: string[];
  /** Called after each operation, so that a test can look at the world between any two of them. */
  onOp: (op: string) => void;
  /** While true, syncs are not answered but wait in `heldSyncs`. */
  holdsSyncs: boolean;
  readonly heldSyncs: (() => void)[];
  /** The content of a file, to be read or to be harmed. */
  bytesOf(name: string): Uint8Array<ArrayBuffer>;
  put(name: string, bytes: Uint8Array): void;
  /** From now on every sync of the file fails, and after the first failure every write. */
  failSyncs(name: string): void;
  failWrites(name: string, failure: IoFailure | undefined): void;
  /** What is left when the machine loses its power now: the durable content under the durable names. */
  powerCut(): MemoryFolder;
};

type Content = {
  bytes: Uint8Array<ArrayBuffer>;
  durable: Uint8Array<ArrayBuffer>;
  failsSyncs: boolean;
  writeFailure: IoFailure | undefined;
};

type State = {
  readonly folder: MemoryFolder;
  readonly files: Map<string, Content>;
  durableNames: Map<string, Content>;
};

const path = "memory";

/** An empty folder, or one with the files given, all of them durable. */
export function createMemoryFolder(
  start: ReadonlyMap<string, Uint8Array> = new Map(),
): MemoryFolder {
  const files = new Map<string, Content>();
  for (const [name, bytes] of start) files.set(name, newContent(bytes));
  const folder: MemoryFolder = {
    path,
    ops: [],
    onOp: () => undefined,
    holdsSyncs: false,
    heldSyncs: [],
    list: () => [...files.keys()],
    exists: (name) => files.has(name),
    open: (name) => open(state, name),
    remove: (name) => remove(state, name),
    rename: (from, to) => rename(state, from, to),
    sync(done) {
      note(state, "sync .");
      const names = new Map(files);
      answer(state, () => {
        state.durableNames = names;
        note(state, "synced .");
        done(undefined);
      });
    },
    bytesOf: (name) => contentOf(state, name).bytes,
    put: (name, bytes) => void files.set(name, newContent(bytes)),
    failSyncs(name) {
      contentOf(state, name).failsSyncs = true;
    },
    failWrites(name, failure) {
      contentOf(state, name).writeFailure = failure;
    },
    powerCut: () =>
      createMemoryFolder(
        new Map(Array.from(state.durableNames, ([name, { durable }]) => [name, durable])),
      ),
  };
  const state: State = { folder, files, durableNames: new Map(files) };
  return folder;
}

function newContent(bytes: Uint8Array): Content {
  const copy = Uint8Array.from(bytes);
  return { bytes: copy, durable: copy.slice(), failsSyncs: false, writeFailure: undefined };
}

function contentOf(state: State, name: string): Content {
  return must(state.files.get(name), `the folder has no file ${name}`);
}

function note(state: State, op: string): void {
  state.folder.ops.push(op);
  state.folder.onOp(op);
}

function answer(state: State, run: () => void): void {
  if (state.folder.holdsSyncs) state.folder.heldSyncs.push(run);
  else run();
}

function open(state: State, name: string): File {
  let content = state.files.get(name);
  if (content === undefined) {
    content = newContent(new Uint8Array(0));
    state.files.set(name, content);
  }
  const file = content;
  note(state, `open ${name}`);
  return {
    path: `${path}/${name}`,
    bytes: () => file.bytes.length,
    read(offset, into) {
      into.fill(0);
      into.set(file.bytes.subarray(offset, offset + into.length));
      return undefined;
    },
    readLater(offset, into, done) {
      queueMicrotask(() => {
        into.fill(0);
        into.set(file.bytes.subarray(offset, offset + into.length));
        done(undefined);
      });
    },
    write(offset, chunks) {
      if (file.writeFailure !== undefined) return file.writeFailure;
      write(file, offset, chunks);
      note(state, `write ${name} ${offset}+${totalBytes(chunks)}`);
      return undefined;
    },
    allocate: () => "unsupported",
    sync(done) {
      note(state, `sync ${name}`);
      const covered = file.bytes.slice();
      answer(state, () => {
        if (file.failsSyncs) {
          file.writeFailure = { code: "EIO", message: `syncing ${name}: EIO` };
          return done(file.writeFailure);
        }
        file.durable = covered;
        note(state, `synced ${name}`);
        done(undefined);
      });
    },
    close: () => undefined,
  };
}

function write(file: Content, offset: number, chunks: readonly Uint8Array[]): void {
  assert(offset >= 0, "a write begins inside of the file or behind it");
  const length = totalBytes(chunks);
  if (length === 0) return;
  if (offset + length > file.bytes.length) {
    const longer = new Uint8Array(offset + length);
    longer.set(file.bytes);
    file.bytes = longer;
  }
  let at = offset;
  for (const chunk of chunks) {
    file.bytes.set(chunk, at);
    at += chunk.length;
  }
}

function rename(state: State, from: string, to: string): IoFailure | undefined {
  const content = state.files.get(from);
  if (content === undefined) return { code: "ENOENT", message: `${from} is not there` };
  state.files.delete(from);
  state.files.set(to, content);
  note(state, `rename ${from} ${to}`);
  return undefined;
}

function remove(state: State, name: string): IoFailure | undefined {
  if (!state.files.delete(name)) return { code: "ENOENT", message: `${name} is not there` };
  note(state, `remove ${name}`);
  return undefined;
}
