import type { TestContext } from "node:test";
import type { HostOutcome, HostRequest, HostVolume } from "#ports/host-request.ts";
import { mountExport } from "./fuse-mount.ts";
import { createMemoryVolume } from "./memory-volume.ts";
import { startNbdBench } from "./nbd-bench.ts";
import { onEnd } from "./on-end.ts";

type Kind = HostRequest["kind"];

/**
 * A disk in a test's hand: a site sees a file (nbdfuse), the test decides about every write and every sync that reaches it.
 * A site that writes to a disk that holds stands still in its system call, as it would with a real one; a sync waits in a
 * thread of its own.
 */
export type LabDisk = {
  /** The image's path for the cluster file. The test's own process must not open it. */
  readonly path: string;
  /** What the disk holds now. */
  readonly content: Uint8Array;
  /** Keeps requests of a kind instead of answering them. */
  hold(kind: Kind): void;
  /** Answers what was kept, and keeps no more. */
  release(): void;
  /** What is kept of a kind ends so, and no more is kept. */
  failKept(kind: Kind, outcome: HostOutcome): void;
  /** Requests of a kind that are kept now. */
  waiting(kind: Kind): number;
  /** The next request of a kind ends so. */
  failNext(kind: Kind, outcome: HostOutcome): void;
  /** Requests that were made to fail. */
  readonly failed: () => number;
  /** Requests of a kind that were answered well. */
  done(kind: Kind): number;
};

/** Makes a disk of zeros; gone at the test's end. */
export async function startLabDisk(t: TestContext, bytes: number): Promise<LabDisk> {
  const memory = createMemoryVolume("lab", "disk", bytes);
  const held = new Set<Kind>();
  const done = new Map<Kind, number>();
  let kept: HostRequest[] = [];
  let fault: { readonly kind: Kind; readonly outcome: HostOutcome } | undefined;
  let failed = 0;
  const pass = (request: HostRequest): void => {
    done.set(request.kind, (done.get(request.kind) ?? 0) + 1);
    memory.submit(request);
  };
  const volume: HostVolume = {
    group: "lab",
    name: "disk",
    index: 0,
    bytes,
    writeBytesMax: memory.writeBytesMax,
    submit(request) {
      if (held.has(request.kind)) {
        kept.push(request);
      } else if (fault?.kind === request.kind) {
        const { outcome } = fault;
        fault = undefined;
        failed += 1;
        request.onReply(request, outcome, undefined);
      } else {
        pass(request);
      }
    },
    extents: (offset, length, answer) => memory.extents(offset, length, answer),
  };
  const release = (): void => {
    held.clear();
    const requests = kept;
    kept = [];
    for (const request of requests) pass(request);
  };
  // Before the server's own end, which waits for its clients.
  let unmount = (): Promise<void> => Promise.resolve();
  onEnd(t, () => {
    release();
    return unmount();
  });
  const bench = await startNbdBench(t, [volume]);
  const mount = await mountExport(t, bench.uri("lab/disk"));
  unmount = mount.unmount;
  return {
    path: mount.path,
    content: memory.content,
    hold: (kind) => void held.add(kind),
    release,
    failKept(kind, outcome) {
      const failing = kept.filter((request) => request.kind === kind);
      kept = kept.filter((request) => request.kind !== kind);
      failed += failing.length;
      for (const request of failing) request.onReply(request, outcome, undefined);
      release();
    },
    waiting: (kind) => kept.filter((request) => request.kind === kind).length,
    failNext(kind, outcome) {
      fault = { kind, outcome };
    },
    failed: () => failed,
    done: (kind) => done.get(kind) ?? 0,
  };
}
