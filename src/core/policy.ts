/**
 * A mode is a row here: who takes part before the ack, what travels as a unit, where a copy keeps it, and what happens
 * when the copy is lost. Whoever needs to ask "which mode?" far from this table lacks a column in it.
 */
export type ModeRow = {
  /** As the cluster file calls it. */
  readonly name: "sync" | "async" | "cycle" | "bunker";
  /** A host write waits for this copy while the copy is synchronized (decision 2). */
  readonly participates: boolean;
  /**
   * What a copy applies as one: the single write, or a set, whole; both in the order of LSNs. `record`: it applies nothing, and
   * keeps the records of the journal as they are.
   */
  readonly unit: "write" | "set" | "record";
  /**
   * A set travels once it is sealed, folded to the newest version of each byte. What is not complete when a session begins is
   * given up at the copy, and sent anew as one (SPEC-cycle.md).
   */
  readonly folds: boolean;
  /** Frames of the session travel on one ordered connection. */
  readonly ordered: boolean;
  /** A write is kept in a journal until the copy has it. */
  readonly journal: boolean;
  /** The state that INTERFACE shows while all is well, and while the copy is lost. */
  readonly stateWell: "synchronized" | "streaming";
  readonly stateLost: "fractured" | "buffering";
  /** What its image is while all is well: the present, or a state of the past that the host could have seen. */
  readonly imageWell: "synchronized" | "consistent" | "none";
};

export const policyTable = {
  sync: {
    name: "sync",
    participates: true,
    unit: "write",
    folds: false,
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
    folds: false,
    ordered: false,
    journal: true,
    stateWell: "streaming",
    stateLost: "buffering",
    imageWell: "consistent",
  },
  cycle: {
    name: "cycle",
    participates: false,
    unit: "set",
    folds: true,
    ordered: false,
    journal: true,
    stateWell: "streaming",
    stateLost: "buffering",
    imageWell: "consistent",
  },
  bunker: {
    name: "bunker",
    participates: true,
    unit: "record",
    folds: false,
    ordered: true,
    journal: true,
    stateWell: "streaming",
    stateLost: "buffering",
    imageWell: "none",
  },
} as const satisfies Record<string, ModeRow>;

export type Mode = keyof typeof policyTable;

/** What a host write gets while a copy that takes part is lost; the last two, with `fail`, are the words of a bunker. */
export type OnLoss = "continue" | "stall" | "fail" | "override" | "off";

export type LossRow = {
  /** Hosts wait for the copy while all is well. Where not, what it lacks is bounded instead (`bunkerLagBytesMax`). */
  readonly takesPart: boolean;
  /** The primary may ack without the copy, once the loss is on record. */
  readonly mayAckAlone: boolean;
  /** Writes wait for the copy to come back; otherwise they fail. */
  readonly waits: boolean;
};

export const lossTable: Record<OnLoss, LossRow> = {
  continue: { takesPart: true, mayAckAlone: true, waits: false },
  stall: { takesPart: true, mayAckAlone: false, waits: true },
  fail: { takesPart: true, mayAckAlone: false, waits: false },
  override: { takesPart: true, mayAckAlone: true, waits: false },
  off: { takesPart: false, mayAckAlone: true, waits: false },
};

/** The configured policy of one copy, as the machines need it. Times in milliseconds. */
export type MemberPolicy = {
  readonly site: string;
  readonly mode: ModeRow;
  /** The site of the relay that feeds it; undefined: the primary does. */
  readonly through: string | undefined;
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
