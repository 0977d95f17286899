import type { Entry } from "#core/entry.ts";

/** A write of 4 KiB at this place in the order of a log; `fields` make it another one, or another kind of entry. */
export function sampleEntry(fields: Pick<Entry, "set" | "index" | "lsn"> & Partial<Entry>): Entry {
  return {
    kind: "write",
    mayPunch: false,
    source: 0,
    incarnation: 1,
    volume: 0,
    offset: 0,
    length: 4096,
    payloadCrc: 0,
    stampMs: 0,
    ...fields,
  };
}
