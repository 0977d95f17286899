import fs from "node:fs";
import { join } from "node:path";
import { limits } from "#base/limits.ts";
import type { EventRecord, Events } from "#ports/events.ts";

/** An event as it is kept and shown. `seq` counts up by one over restarts; `time` is for people (U58). */
export type StampedEvent = EventRecord & {
  readonly seq: number;
  /** By the machine's clock, ISO 8601 in UTC. */
  readonly time: string;
  readonly site: string;
};

export type EventQuery = {
  /** Only events behind this sequence number. */
  readonly since?: number;
  readonly group?: string;
};

export type EventLog = Events & {
  /** The newest events that match, oldest first, at most `limits.eventsPerAnswerMax`. */
  query(query: EventQuery): readonly StampedEvent[];
  /** Tells one listener of every event from now on. */
  follow(listener: (event: StampedEvent) => void): void;
  close(): void;
};

export type EventLogOptions = {
  /** The site's data folder, which must be there. */
  readonly folder: string;
  readonly site: string;
  readonly wallMs: () => number;
  /** Told once when the file can no longer be written; events are then kept in memory alone. */
  readonly onTrouble: (message: string) => void;
  /** Size at which the file is rotated; `limits.eventsFileBytesMax` unless told. */
  readonly fileBytesMax?: number;
};

const currentName = "events.jsonl";
const olderName = "events.jsonl.1";

/**
 * Keeps what happened at a site: the newest events in memory, and `events.jsonl` in the data folder so that they
 * outlive the process. The file is rotated once, so both together stay within twice its limit.
 *
 * An event is written at once, as a write to the page cache costs a microsecond or so and events are rare; it survives
 * the death of the process. A last line torn by a power loss is skipped at the next start.
 */
export function createEventLog(options: EventLogOptions): EventLog {
  const current = join(options.folder, currentName);
  const older = join(options.folder, olderName);
  const fileBytesMax = options.fileBytesMax ?? limits.eventsFileBytesMax;
  const kept: StampedEvent[] = [...readEvents(older), ...readEvents(current)].slice(
    -limits.eventsKeptMax,
  );
  let nextSeq = (kept.at(-1)?.seq ?? 0) + 1;
  let fd: number | undefined;
  let fileBytes = 0;
  let listener: ((event: StampedEvent) => void) | undefined;

  const giveUp = (error: unknown): void => {
    const reason = error instanceof Error ? error.message : String(error);
    options.onTrouble(`events are no longer written to ${current}: ${reason}`);
    if (fd !== undefined) fs.closeSync(fd);
    fd = undefined;
  };

  const open = (): void => {
    fd = fs.openSync(current, "a", 0o600);
    fileBytes = fs.fstatSync(fd).size;
  };

  const append = (line: string): void => {
    if (fd === undefined) return;
    try {
      const bytes = Buffer.from(line);
      if (fileBytes > 0 && fileBytes + bytes.length > fileBytesMax) {
        fs.closeSync(fd);
        fd = undefined;
        fs.renameSync(current, older);
        open();
      }
      if (fd !== undefined) fileBytes += fs.writeSync(fd, bytes);
    } catch (error: unknown) {
      giveUp(error);
    }
  };

  try {
    open();
    // Ends a line that a power loss tore, so that the next event begins its own.
    if (fileBytes > 0) append("\n");
  } catch (error: unknown) {
    giveUp(error);
  }

  return {
    emit(record) {
      const time = new Date(options.wallMs()).toISOString();
      const event = { seq: nextSeq, time, site: options.site, ...record };
      nextSeq += 1;
      kept.push(event);
      // Trimmed by blocks, since moving ten thousand events for each new one would cost more than the event.
      if (kept.length > 2 * limits.eventsKeptMax)
        kept.splice(0, kept.length - limits.eventsKeptMax);
      append(`${JSON.stringify(event)}\n`);
      listener?.(event);
    },
    query({ since, group }) {
      return kept
        .filter(
          (event) => event.seq > (since ?? 0) && (group === undefined || event.group === group),
        )
        .slice(-limits.eventsPerAnswerMax);
    },
    follow(next) {
      listener = next;
    },
    close() {
      if (fd !== undefined) fs.closeSync(fd);
      fd = undefined;
    },
  };
}

function readEvents(path: string): readonly StampedEvent[] {
  if (!fs.existsSync(path)) return [];
  return fs
    .readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      const event = parseEvent(line);
      return event === undefined ? [] : [event];
    });
}

function parseEvent(line: string): StampedEvent | undefined {
  if (line === "") return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return isEvent(value) ? value : undefined;
  } catch {
    // Half a line is what a power loss leaves; the events around it are whole.
    return undefined;
  }
}

function isEvent(value: unknown): value is StampedEvent {
  if (typeof value !== "object" || value === null) return false;
  const { seq, time, kind, group, why } = value as Record<string, unknown>;
  const texts = [time, kind, group, why].every((text) => typeof text === "string");
  return texts && Number.isSafeInteger(seq);
}
