import type { FrameHeader, FrameType } from "#wire/peer/messages.ts";
import { frameType, hasTable } from "#wire/peer/messages.ts";
import type { Entry } from "#core/entry.ts";
import type { GroupContext } from "./group-context.ts";

// Lines of `serve --trace` for the frames of a session. Nothing is computed while nobody traces.

const nameOf = new Map<number, string>(
  Object.entries(frameType).map(([name, type]) => [type, name]),
);

export function traceIn(context: GroupContext, copy: string, header: FrameHeader): void {
  if (context.ports.trace !== undefined) line(context, "in", copy, header);
}

export function traceOut(context: GroupContext, copy: string, header: FrameHeader): void {
  if (context.ports.trace !== undefined) line(context, "out", copy, header);
}

type TracedSession = {
  readonly copy: string;
  readonly generation: number;
  readonly epoch: number;
};

/** A line for each write, zeroed range and SEAL of a batch. */
export function traceBatch(
  context: GroupContext,
  dir: "in" | "out",
  session: TracedSession,
  entries: readonly Entry[],
): void {
  const { trace } = context.ports;
  if (trace === undefined) return;
  for (const { kind, set, index, lsn, volume, offset, length } of entries) {
    const { name = "*" } = context.config.volumes[volume] ?? {};
    // A SEAL is of no volume.
    const place = kind === "seal" ? {} : { volume: name, offset, length };
    trace.line({
      dir,
      kind,
      group: context.config.name,
      copy: session.copy,
      generation: session.generation,
      epoch: session.epoch,
      set,
      index,
      lsn,
      ...place,
    });
  }
}

/**
 * What a session has sent, told once the turn has ended: a connection sends then what the turn has handed to it, behind the
 * replies, of which hosts hear first.
 */
export function traceSent(
  context: GroupContext,
  session: TracedSession,
  entries: readonly Entry[],
): void {
  const { clock, trace } = context.ports;
  if (trace !== undefined) clock.soon(() => traceBatch(context, "out", session, entries));
}

type Field = "lsn" | "set" | "index" | "sequence" | "volume" | "offset" | "length";

const range = ["sequence", "volume", "offset", "length"] as const;

/** What a frame of each type has to say (wire/peer/messages.ts); a mirror's frames have their sequence for an index. */
const fieldsOf: Readonly<Partial<Record<FrameType, readonly Field[]>>> = {
  [frameType.write]: ["lsn", ...range],
  [frameType.zero]: ["lsn", ...range],
  [frameType.region]: ["lsn", ...range],
  [frameType.regionZero]: ["lsn", ...range],
  [frameType.compare]: ["lsn", ...range],
  [frameType.begin]: ["lsn"],
  [frameType.flush]: ["lsn", "index", "volume"],
  [frameType.memberMap]: ["volume", "offset"],
  [frameType.synchronized]: ["lsn", "set"],
  [frameType.mark]: ["set"],
  [frameType.fractured]: ["lsn"],
  [frameType.released]: ["lsn", "set"],
  [frameType.feed]: ["index", "set"],
  [frameType.feedEnd]: ["index"],
  [frameType.applied]: ["index", "set"],
  [frameType.ack]: ["lsn", "sequence"],
  [frameType.flushed]: ["index"],
  [frameType.differs]: ["sequence"],
  [frameType.openMap]: ["volume", "offset"],
  [frameType.progress]: ["set", "lsn"],
  [frameType.staged]: ["sequence"],
  [frameType.logged]: ["lsn", "set", "index"],
  [frameType.purged]: ["set", "lsn", "index"],
  [frameType.feedLost]: ["index"],
  [frameType.invalidate]: ["lsn", "set"],
};

/** Of these, some have no set, or no LSN: 0 is none. */
const sparse: ReadonlySet<FrameType> = new Set([
  frameType.region,
  frameType.regionZero,
  frameType.compare,
  frameType.begin,
  frameType.flush,
  frameType.synchronized,
]);

function line(context: GroupContext, dir: "in" | "out", copy: string, header: FrameHeader): void {
  const { type, generation, epoch } = header;
  // Its entries have lines of their own, on whichever connection it came (`traceBatch`).
  if (hasTable(type)) return;
  const told: Record<string, string | number> = {};
  for (const field of fieldsOf[type] ?? []) {
    if (sparse.has(type) && (field === "lsn" || field === "set") && header[field] === 0) continue;
    if (field === "volume") told[field] = context.config.volumes[header.volume]?.name ?? "*";
    else told[field === "sequence" ? "index" : field] = header[field];
  }
  const kind = nameOf.get(type) ?? String(type);
  const { name: group } = context.config;
  context.ports.trace?.line({ dir, kind, group, copy, generation, epoch, ...told });
}
