/**
 * One request of a host to one volume, as the protocol in front (NBD, later iSCSI) hands it to the engine.
 *
 * The front allocates it, fills it, submits it, and gets it back through `onReply` exactly once. Between the two, the
 * chunks of `payload` must stay untouched: they go to image and wire as they are (trap 10). Once a request was answered
 * with `ok`, the engine neither looks at its payload nor begins to send it any more. The engine's own fields are the last
 * three.
 */
export type HostRequest = {
  readonly kind: HostRequestKind;
  /** Index of the volume in its group. */
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  /** A write's bytes in order; empty for the other kinds. */
  readonly payload: readonly Uint8Array[];
  /** Forced unit access: the reply waits until the write is durable at every ack participant. */
  readonly fua: boolean;
  /** For `zero`: the range need not keep its space (NBD without NO_HOLE, and TRIM). */
  readonly mayPunch: boolean;
  /** Called exactly once; `bytes` are the answer to a read. One function serves a whole connection, not one each. */
  readonly onReply: (
    request: HostRequest,
    outcome: HostOutcome,
    bytes: Uint8Array | undefined,
  ) => void;

  /** Engine: place in the group's order, 0 before it has one. */
  lsn: number;
  /** Engine: legs (image and copies) that have not answered. */
  legs: number;
  /** Engine: why the request will fail, once that is known. */
  failure: HostOutcome;
};

export type HostRequestKind = "read" | "write" | "zero" | "flush";

/**
 * How a request ended. `io`: the device or a strict copy failed it. `full`: no space. `gone`: this site is not (or no
 * longer) the primary, or is stopping. `moved`: never begun, and the role was handed to another site meanwhile: no
 * answer is the best one, since hosts ask again after a lost connection, and give up after an error. Each front maps
 * these to its own codes in one function.
 */
export type HostOutcome = "ok" | "io" | "full" | "gone" | "moved";

/** A volume as a front sees it. */
export type HostVolume = {
  readonly group: string;
  readonly name: string;
  readonly index: number;
  readonly bytes: number;
  /** The longest write that may be submitted; it may become another one while hosts are connected. */
  readonly writeBytesMax: number;
  submit(request: HostRequest): void;
  /** Allocation of a range, for NBD's `base:allocation`: runs in order, without gaps. */
  extents(
    offset: number,
    length: number,
    done: (extents: readonly { offset: number; length: number; hole: boolean }[]) => void,
  ): void;
};
