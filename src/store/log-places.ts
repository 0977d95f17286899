import { assert } from "#base/assert.ts";
import { segmentHeaderBytes } from "./log-format.ts";
import { lastSegment } from "./log.ts";
import type { Log, LogPlace } from "./log.ts";

// Where in a log its records begin.

/** Where the next record will begin, unless it begins a new segment: reading goes on there as well. */
export function endOf(log: Log): LogPlace {
  const last = lastSegment(log);
  return { number: log.lastRecord + 1, segment: last.number, byte: last.endByte };
}

/**
 * The nearest known place at or before a record, or before the end of the log: at most `limits.logIndexBytes` and a record
 * away. Undefined when the record is no longer there.
 */
export function placeOf(log: Log, number: number): LogPlace | undefined {
  assert(number <= log.lastRecord + 1, `record ${number} is not yet in the ${log.options.name}`);
  if (number > log.lastRecord) return endOf(log);
  const segment = log.segments.findLast(({ firstRecord }) => firstRecord <= number);
  if (segment === undefined) return undefined;
  const mark = segment.marks.findLast((one) => one.number <= number);
  return mark ?? { number: segment.firstRecord, segment: segment.number, byte: segmentHeaderBytes };
}
