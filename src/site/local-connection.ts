import { totalBytes } from "#base/bytes.ts";
import type { Clock } from "#ports/clock.ts";
import type { Connection, ConnectionEvents } from "#ports/transport.ts";

// A connection whose two ends are in this process: what one sends the other gets before the turn is over, as it is.

/** One end; its owner attaches what it wants to be told. */
export type LocalEnd = {
  readonly connection: Connection;
  attach(events: ConnectionEvents): void;
};

type End = {
  readonly remote: string;
  events: ConnectionEvents | undefined;
  /** What was sent to this end and has not been handed over. */
  inbox: Uint8Array[];
  inboxBytes: number;
  isPaused: boolean;
  isDue: boolean;
  /** Nothing more comes behind what is in the inbox. */
  endsWith: string | undefined;
  isClosed: boolean;
};

export function connectLocally(
  clock: Clock,
  remote: string,
): readonly [near: LocalEnd, far: LocalEnd] {
  const near = newEnd(remote);
  const far = newEnd("this process");
  return [localEnd(clock, near, far), localEnd(clock, far, near)];
}

function newEnd(remote: string): End {
  return {
    remote,
    events: undefined,
    inbox: [],
    inboxBytes: 0,
    isPaused: false,
    isDue: false,
    endsWith: undefined,
    isClosed: false,
  };
}

function localEnd(clock: Clock, own: End, other: End): LocalEnd {
  return {
    attach(events) {
      own.events = events;
      schedule(clock, own, other);
    },
    connection: {
      remote: own.remote,
      send(chunks) {
        if (own.isClosed || other.endsWith !== undefined) return;
        other.inbox.push(...chunks);
        other.inboxBytes += totalBytes(chunks);
        schedule(clock, other, own);
      },
      queuedBytes: () => other.inboxBytes,
      pause() {
        own.isPaused = true;
      },
      resume() {
        own.isPaused = false;
        schedule(clock, own, other);
      },
      take: (bytes) => new Uint8Array(bytes),
      giveBack: () => undefined,
      end(why) {
        other.endsWith ??= why;
        schedule(clock, other, own);
      },
      close(why) {
        close(clock, own, why);
        close(clock, other, why);
      },
    },
  };
}

function schedule(clock: Clock, own: End, other: End): void {
  if (own.isDue) return;
  own.isDue = true;
  clock.soon(() => {
    own.isDue = false;
    deliver(clock, own, other);
  });
}

function deliver(clock: Clock, own: End, other: End): void {
  const { events } = own;
  if (events === undefined || own.isPaused || own.isClosed) return;
  const chunks = own.inbox;
  own.inbox = [];
  own.inboxBytes = 0;
  for (const [i, chunk] of chunks.entries()) {
    events.onData(chunk);
    if (isGone(own)) return;
    if (!isHeldUp(own)) continue;
    const rest = chunks.slice(i + 1);
    own.inboxBytes += totalBytes(rest);
    own.inbox.unshift(...rest);
    return;
  }
  if (chunks.length > 0 && !other.isClosed) other.events?.onDrain();
  if (own.endsWith === undefined || own.inbox.length > 0) return;
  close(clock, own, own.endsWith);
  close(clock, other, own.endsWith);
}

// Functions of their own: what was handed over may have changed it.
function isGone(end: End): boolean {
  return end.isClosed;
}

function isHeldUp(end: End): boolean {
  return end.isPaused;
}

function close(clock: Clock, end: End, why: string): void {
  if (end.isClosed) return;
  end.isClosed = true;
  end.inbox = [];
  end.inboxBytes = 0;
  clock.soon(() => end.events?.onClose(why));
}
