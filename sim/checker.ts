import type { EventRecord, TraceLine } from "#ports/events.ts";
import type { HostRequestKind } from "#ports/host-request.ts";
import type { GroupStatus } from "#site/api.ts";
import type { CrashKind, Machine } from "./machine.ts";
import type { Line } from "./line.ts";
import type { WriteRecord } from "./oracle.ts";
import type { World } from "./world.ts";

/** A host's FLUSH: it covers what was acked on its volume before it was invoked. */
export type FlushRecord = {
  readonly volume: number;
  readonly invokedTick: number;
  readonly site: string;
};

/**
 * Something that watches a world and knows what must hold. A checker sees what a host, an operator or a disk would see,
 * never the engine's memory. It reports through `world.report`, citing the invariant.
 */
export type Checker = {
  /** Invariants that it reports: SPEC 4.2's I1..I36, PROOF 4.3's N1..N8; capabilities (A16) where no invariant says it. */
  readonly ids: readonly string[];
  onWriteAcked?(write: WriteRecord, ack: Ack): void;
  onFlushAcked?(flush: FlushRecord, covered: readonly WriteRecord[], ack: Ack): void;
  /** A host's request was answered with an error of the device's, or of the room there. */
  onRefused?(refused: Refusal): void;
  /** A read has shown a write that an earlier process of the primary took and never answered. */
  onUnansweredSeen?(write: WriteRecord, sector: number, status: GroupStatus, line: Line): void;
  /** A write to an image is about to be made by a process. */
  onImageWrite?(write: ImageWrite): void;
  onEvent?(machine: Machine, event: EventRecord): void;
  /** A line of a site's trace: in worlds that may have a copy of cycles, and in no others. */
  onTrace?(machine: Machine, fields: TraceLine): void;
  /** The status of a group at a site, taken whenever something may have changed it and at random instants. */
  onStatus?(machine: Machine, line: Line, status: GroupStatus): void;
  onDown?(machine: Machine, crash: CrashKind): void;
  /** A random instant of the faults phase. */
  onSample?(): void;
  /** Everything has healed and come to rest; nothing runs any more but the sites themselves. */
  onRest?(): void;
  /** All sites were stopped cleanly. */
  onStopped?(): void;
};

export type Refusal = {
  readonly line: Line;
  readonly machine: Machine;
  /** With bunkers. */
  readonly status: GroupStatus;
  readonly kind: HostRequestKind;
  readonly volume: number;
  readonly outcome: "io" | "full";
  /** Since the host has sent it. */
  readonly waitedMs: number;
};

export type Ack = {
  readonly line: Line;
  readonly machine: Machine;
  readonly status: GroupStatus;
  /** Bits of the sites whose status says that they take part. */
  readonly participants: number;
  /** The ack also promises that it survives a power loss. */
  readonly forced: boolean;
  /** The process serves the history that counts; otherwise what it acks is a branch. */
  readonly onLine: boolean;
};

export type ImageWrite = {
  readonly machine: Machine;
  readonly life: number;
  readonly line: Line;
  readonly volume: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Undefined for zeros. */
  readonly chunks: readonly Uint8Array[] | undefined;
};

export type CheckerFactory = (world: World) => Checker;
