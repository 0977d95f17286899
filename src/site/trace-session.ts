import type { FrameHeader } from "#wire/peer/messages.ts";
import { frameType } from "#wire/peer/messages.ts";
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
    const isSeal = kind === "seal";
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
      volume: isSeal ? "*" : (context.config.volumes[volume]?.name ?? "*"),
      offset: isSeal ? 0 : offset,
      length,
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

/** Their index says which flush, how many entries, or in which session with a copy. */
const indexed: ReadonlySet<number> = new Set([
  frameType.flush,
  frameType.purged,
  frameType.feed,
  frameType.feedEnd,
  frameType.applied,
  frameType.feedLost,
]);

function line(context: GroupContext, dir: "in" | "out", copy: string, header: FrameHeader): void {
  context.ports.trace?.line({
    dir,
    kind: nameOf.get(header.type) ?? String(header.type),
    group: context.config.name,
    copy,
    generation: header.generation,
    epoch: header.epoch,
    set: header.set,
    index: indexed.has(header.type) ? header.index : header.sequence,
    lsn: header.lsn,
    volume: context.config.volumes[header.volume]?.name ?? "*",
    offset: header.offset,
    length: header.length,
  });
}
