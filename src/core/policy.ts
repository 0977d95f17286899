/**
 * A mode is a row here: who takes part before the ack, what travels as a unit, where a copy keeps it, and what happens
 * when the copy is lost. Whoever needs to ask "which mode?" far from this table lacks a column in it.
 */
export type ModeRow = {
  /** As the cluster file calls it. */
  readonly name: "sync" | "async";
  /** A host write waits for this copy while the copy is synchronized (decision 2). */
  readonly participates: boolean;
  /** What a copy applies as one: the single write, or a set, whole; both in the order of LSNs. */
  readonly unit: "write" | "set";
  /** Frames of the session travel on one ordered connection. */
  readonly ordered: boolean;
  /** A write is kept in a journal until the copy has it. */
  readonly journal: boolean;
  /** The state that INTERFACE shows while all is well, and while the copy is lost. */
  readonly stateWell: "synchronized" | "streaming";
  readonly stateLost: "fractured" | "buffering";
  /** What its image is while all is well: the present, or a state of the past that the host could have seen. */
  readonly imageWell: "synchronized" | "consistent";
};

export const policyTable = {
  sync: {
    name: "sync",
    participates: true,
    unit: "write",
    ordered: true,
    journal: false,
    stateWell: "synchronized",
    stateLost: "fractured",
    imageWell: "synchronized",
  },
  async: {
    name: "async",
    participates: false,
    unit: "set",
    ordered: false,
    journal: true,
    stateWell: "streaming",
    stateLost: "buffering",
    imageWell: "consistent",
  },
} as const satisfies Record<string, ModeRow>;

export type Mode = keyof typeof policyTable;

/** What a host write gets while a copy that takes part is lost. */
export type OnLoss = "continue" | "stall" | "fail";

export type LossRow = {
  /** The primary may ack without the copy, once the loss is on record. */
  readonly mayAckAlone: boolean;
  /** Writes wait for the copy to come back; otherwise they fail. */
  readonly waits: boolean;
};

export const lossTable: Record<OnLoss, LossRow> = {
  continue: { mayAckAlone: true, waits: false },
  stall: { mayAckAlone: false, waits: true },
  fail: { mayAckAlone: false, waits: false },
};

/** The configured policy of one copy, as the machines need it. Times in milliseconds. */
export type MemberPolicy = {
  readonly site: string;
  readonly mode: ModeRow;
  readonly loss: LossRow;
  readonly ackTimeoutMs: number;
  readonly autoResume: boolean;
  readonly timeoutMs: number;
  readonly rateBytesPerSecond: number | undefined;
  /** Parallel connections, where frames need no order. */
  readonly connections: number;
  /** Sets travel packed: always, or where it pays; undefined: never. */
  readonly compress: "on" | "auto" | undefined;
};
