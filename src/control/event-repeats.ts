import { limits } from "#base/limits.ts";
import type { EventRecord } from "#ports/events.ts";

// A copy that is lost as soon as it is fed, since its disk refuses every write, goes to and fro many times a second, for days.
// Each change is a real one, and together they would push everything else out of the event log. So a change that has been told
// often enough lately is counted instead, and what came of it all is told once in a while, and when it is over.

type Subject = {
  /** How often each change was told in this window. */
  readonly told: Map<string, number>;
  /** How often each may be. */
  toldMax: number;
  leftOut: number;
  /** The last change that was left out. */
  last: EventRecord | undefined;
  timer: NodeJS.Timeout;
};

export type BoundEvents = {
  emit(record: EventRecord): void;
  /** Tells what was left out, and ends. */
  close(): void;
};

/** `write` gets every event, but for changes of state that repeat themselves more often than the limits allow. */
export function boundRepeats(write: (record: EventRecord) => void): BoundEvents {
  const subjects = new Map<string, Subject>();

  const tellLast = (subject: Subject): void => {
    const { last } = subject;
    if (last !== undefined) write(withNote(last, subject.leftOut - 1));
    subject.last = undefined;
    subject.leftOut = 0;
  };

  const windowEnds = (key: string, subject: Subject): void => {
    if (subject.leftOut === 0) return void subjects.delete(key);
    tellLast(subject);
    subject.told.clear();
    // It has not stopped: from now on once in a window is often enough.
    subject.toldMax = 1;
    subject.timer = startWindow(key, subject);
  };

  const startWindow = (key: string, subject: Subject): NodeJS.Timeout =>
    setTimeout(() => windowEnds(key, subject), limits.eventsRepeatMs).unref();

  const subjectOf = ({ kind, group, copy, volume }: EventRecord): Subject => {
    const key = JSON.stringify([kind, group, copy, volume]);
    const known = subjects.get(key);
    if (known !== undefined) return known;
    const subject = { told: new Map<string, number>(), leftOut: 0, last: undefined };
    const made = { ...subject, toldMax: limits.eventsRepeatsMax } as Subject;
    made.timer = startWindow(key, made);
    subjects.set(key, made);
    return made;
  };

  return {
    emit(record) {
      const { from, to } = record;
      if (from === undefined || to === undefined) return write(record);
      const subject = subjectOf(record);
      const change = `${from} ${to}`;
      const times = (subject.told.get(change) ?? 0) + 1;
      if (times > subject.toldMax) {
        subject.leftOut += 1;
        subject.last = record;
        return;
      }
      subject.told.set(change, times);
      const { leftOut } = subject;
      subject.leftOut = 0;
      subject.last = undefined;
      write(withNote(record, leftOut));
    },
    close() {
      for (const subject of subjects.values()) {
        clearTimeout(subject.timer);
        tellLast(subject);
      }
      subjects.clear();
    },
  };
}

function withNote(record: EventRecord, leftOut: number): EventRecord {
  if (leftOut <= 0) return record;
  const note = `${leftOut} ${leftOut === 1 ? "change" : "changes"} to and fro before this ${leftOut === 1 ? "was" : "were"} left out`;
  return { ...record, why: record.why === "" ? note : `${record.why}; ${note}` };
}
