/**
 * One change of state, as `antipode events` shows it. `kind` is the word the code uses; `from` and `to` are states of
 * INTERFACE's tables where there are any.
 */
export type EventRecord = {
  readonly kind: string;
  readonly group: string;
  readonly copy?: string;
  readonly volume?: string;
  readonly from?: string;
  readonly to?: string;
  /** Of a replay: the first and the last write that it shall bring, or has brought; left out where there is none. */
  readonly fromLsn?: number;
  readonly toLsn?: number;
  readonly why: string;
};

/** Events that hosts' people and scripts wait for, by the names that the specification gives them (SPEC B7, B12). */
export const raised = {
  volumeFailed: "PRIMARY_VOLUME_FAILED",
  nodeFailed: "PRIMARY_NODE_FAILED",
  recovered: "RECOVERED",
} as const;

/** Takes events in the order in which they happened. Stamps and stores them; never fails and never blocks. */
export type Events = { emit(event: EventRecord): void };

/** Where `--trace` goes: one line per host ack and peer message. Undefined when nobody traces. */
export type Trace = { line(fields: TraceLine): void };

export type TraceLine = {
  readonly dir: "in" | "out";
  readonly kind: string;
  readonly group: string;
  readonly copy?: string;
  readonly generation?: number;
  readonly epoch?: number;
  readonly set?: number;
  readonly index?: number;
  readonly lsn?: number;
  readonly volume?: string;
  readonly offset?: number;
  readonly length?: number;
};
