import type { ServerResponse } from "node:http";
import { limits } from "#base/limits.ts";
import type { StampedEvent } from "./event-log.ts";

type Reader = {
  readonly response: ServerResponse;
  readonly group: string | undefined;
  /** Highest sequence number sent, so that nothing is sent twice when history and present overlap. */
  sentSeq: number;
  /** Events that came while the history was still being asked for; undefined once it was sent. */
  waiting: StampedEvent[] | undefined;
};

/** Sends events to everybody who reads GET /v1/events/stream (server-sent events). */
export type EventStream = {
  publish(event: StampedEvent): void;
  /** False when there are as many readers as there may be. */
  hasRoom(): boolean;
  /** Takes over a response: first what `history` brings, then every event as it comes. */
  add(
    response: ServerResponse,
    group: string | undefined,
    history: Promise<readonly StampedEvent[]>,
  ): Promise<void>;
  close(): void;
};

export function createEventStream(): EventStream {
  const readers = new Set<Reader>();

  const send = (reader: Reader, event: StampedEvent): void => {
    if (event.seq <= reader.sentSeq) return;
    if (reader.group !== undefined && reader.group !== event.group) return;
    reader.sentSeq = event.seq;
    reader.response.write(`id: ${event.seq}\nevent: change\ndata: ${JSON.stringify(event)}\n\n`);
    // Who reads too slowly is cut off and comes back with Last-Event-ID; memory does not wait for anybody.
    if (reader.response.writableLength > limits.apiStreamQueueBytesMax) reader.response.destroy();
  };

  const heartbeat = setInterval(() => {
    for (const { response } of readers) response.write(": still here\n\n");
  }, limits.apiStreamHeartbeatMs);

  return {
    publish(event) {
      for (const reader of readers) {
        if (reader.waiting === undefined) send(reader, event);
        else reader.waiting.push(event);
      }
    },
    hasRoom: () => readers.size < limits.apiStreamsMax,
    async add(response, group, history) {
      const reader: Reader = { response, group, sentSeq: 0, waiting: [] };
      readers.add(reader);
      response.on("close", () => readers.delete(reader));
      response.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
      });
      response.write(": events of one site\n\n");
      try {
        const past = await history;
        const present = reader.waiting ?? [];
        reader.waiting = undefined;
        for (const event of [...past, ...present]) send(reader, event);
      } catch {
        // The head is out already, so ending the stream is all that can be said; the reader asks again.
        response.destroy();
      }
    },
    close() {
      clearInterval(heartbeat);
      for (const { response } of readers) response.destroy();
      readers.clear();
    },
  };
}
