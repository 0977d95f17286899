import { must, unreachable } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { HostOutcome, HostRequest, HostRequestKind, HostVolume } from "#ports/host-request.ts";
import type { RequestDecoder } from "./decode-request.ts";
import {
  command,
  commandFlag,
  nbdError,
  type NbdError,
  type NbdRequest,
  type SplitRequest,
} from "./messages.ts";
import type { Transmission } from "./session.ts";

/** Why a request fails: the code for the machine at the other end, the message for the person behind it. */
export type Refusal = { readonly error: NbdError; readonly message: string };

const refusals = {
  flags: { error: nbdError.invalid, message: "a command flag that this command does not take" },
  empty: { error: nbdError.invalid, message: "the length is zero" },
  beyondEnd: { error: nbdError.invalid, message: "the range reaches beyond the end of the volume" },
  writeBeyondEnd: {
    error: nbdError.noSpace,
    message: "the range reaches beyond the end of the volume",
  },
  readTooLong: { error: nbdError.overflow, message: "a read longer than the maximum payload size" },
  tooLong: { error: nbdError.invalid, message: "longer than the maximum payload size" },
  flushRange: { error: nbdError.invalid, message: "a flush takes neither offset nor length" },
  noContext: { error: nbdError.invalid, message: "no metadata context was selected" },
  unknown: { error: nbdError.invalid, message: "an unknown command" },
} as const satisfies Record<string, Refusal>;

/**
 * Judges a request by what was negotiated: the one check at the door, behind which everybody trusts flags and range.
 * DISC is not a request in this sense; the connection has dealt with it before. Undefined: welcome.
 */
export function refusalOf(
  transmission: Transmission,
  request: RequestDecoder,
): Refusal | undefined {
  switch (request.type) {
    case command.read:
      return refusalOfRead(transmission, request);
    case command.write:
      if (hasOtherFlags(request, commandFlag.fua)) return refusals.flags;
      if (request.length > limits.hostRequestBytesMax) return refusals.tooLong;
      return refusalOfRange(transmission, request, refusals.writeBeyondEnd);
    case command.writeZeroes:
      if (hasOtherFlags(request, commandFlag.fua | commandFlag.noHole)) return refusals.flags;
      return refusalOfRange(transmission, request, refusals.writeBeyondEnd);
    case command.trim:
      if (hasOtherFlags(request, commandFlag.fua)) return refusals.flags;
      return refusalOfRange(transmission, request, refusals.beyondEnd);
    case command.flush:
      if (hasOtherFlags(request, commandFlag.fua)) return refusals.flags;
      return request.offset === 0 && request.length === 0 ? undefined : refusals.flushRange;
    case command.blockStatus:
      if (!transmission.allocation) return refusals.noContext;
      if (hasOtherFlags(request, commandFlag.fua | commandFlag.reqOne)) return refusals.flags;
      return refusalOfRange(transmission, request, refusals.beyondEnd);
    default:
      return refusals.unknown; // CACHE too: it was not announced.
  }
}

function refusalOfRead(transmission: Transmission, request: RequestDecoder): Refusal | undefined {
  const dontFragment = transmission.structured ? commandFlag.df : 0;
  if (hasOtherFlags(request, commandFlag.fua | dontFragment)) return refusals.flags;
  if (request.length > limits.hostRequestBytesMax) {
    // EOVERFLOW is reserved to those who know DF.
    return transmission.structured ? refusals.readTooLong : refusals.tooLong;
  }
  return refusalOfRange(transmission, request, refusals.beyondEnd);
}

function refusalOfRange(
  transmission: Transmission,
  request: RequestDecoder,
  beyondEnd: Refusal,
): Refusal | undefined {
  if (request.length === 0) return refusals.empty;
  return request.offset + request.length <= transmission.volumeBytes ? undefined : beyondEnd;
}

/** FUA is in every set: clients may put it on every command, and it means nothing where nothing is written. */
function hasOtherFlags(request: RequestDecoder, allowed: number): boolean {
  return (request.flags & ~allowed) !== 0;
}

/** The engine's word for a command that passed `refusalOf`. BLOCK_STATUS never becomes a request. */
function kindOf(type: number): HostRequestKind {
  switch (type) {
    case command.read:
      return "read";
    case command.write:
      return "write";
    case command.flush:
      return "flush";
    default:
      return "zero";
  }
}

/** A piece of a request that is too long for the engine. */
type Part = {
  readonly offset: number;
  readonly length: number;
  readonly payload: readonly Uint8Array[];
  readonly split: SplitRequest;
};

/**
 * Makes the request that the decoder holds, or a part of it. The only place where requests are made, with every field
 * from the start, so that they all have one shape.
 */
export function createRequest(
  decoder: RequestDecoder,
  volume: HostVolume,
  onReply: HostRequest["onReply"],
  part?: Part,
): NbdRequest {
  const { type, flags } = decoder;
  return {
    kind: kindOf(type),
    volume: volume.index,
    offset: part === undefined ? decoder.offset : part.offset,
    length: part === undefined ? decoder.length : part.length,
    payload: part === undefined ? decoder.payload : part.payload,
    fua: (flags & commandFlag.fua) !== 0 && type !== command.read && type !== command.flush,
    mayPunch:
      type === command.trim || (type === command.writeZeroes && (flags & commandFlag.noHole) === 0),
    onReply,
    lsn: 0,
    legs: 0,
    failure: "ok",
    cookieHigh: decoder.cookieHigh,
    cookieLow: decoder.cookieLow,
    split: part?.split,
  };
}

/** The engine takes no longer request of this type to the volume: what is longer goes in parts. Bytes. */
export function partBytesMax({ type }: { readonly type: number }, volume: HostVolume): number {
  return type === command.write ? volume.writeBytesMax : limits.hostRequestBytesMax;
}

/**
 * Cuts a request into such that the engine takes, in their order. A TRIM or WRITE_ZEROES may span 4 GiB, and hosts do send
 * such ones: a new file system discards its whole device. It has no bytes, however long its parts are. A WRITE is cut where
 * a group's journal takes it in parts (core/journal-size.ts), at whole multiples of that length: within no block of the host.
 *
 * NBD promises no more: what is under way at a time has no order, and nobody may count on more than a block being written
 * whole. The host is answered once, when all parts are; each of them is durable before that where the whole was to be (FUA).
 */
export function partsOf(
  request: Pick<RequestDecoder, "type" | "offset" | "length" | "payload">,
  bytesMax: number,
): readonly Part[] {
  const { offset, length, payload } = request;
  const isWrite = request.type === command.write;
  const split: SplitRequest = { partsLeft: 0, failure: "ok" };
  const parts: Part[] = [];
  const pieces = { list: payload, index: 0, byte: 0 };
  let firstBytes = isWrite ? bytesMax - (offset % bytesMax) : bytesMax;
  for (let at = 0; at < length;) {
    const bytes = Math.min(firstBytes, length - at);
    const part = isWrite ? takePieces(pieces, bytes) : [];
    parts.push({ offset: offset + at, length: bytes, payload: part, split });
    at += bytes;
    firstBytes = bytesMax;
  }
  split.partsLeft = parts.length;
  return parts;
}

// The next so many bytes of a payload, as views.
function takePieces(
  from: { readonly list: readonly Uint8Array[]; index: number; byte: number },
  bytes: number,
): Uint8Array[] {
  const taken: Uint8Array[] = [];
  for (let left = bytes; left > 0;) {
    const piece = must(from.list[from.index], "a write has as many bytes as it says");
    const part = piece.subarray(from.byte, from.byte + left);
    taken.push(part);
    left -= part.length;
    from.byte += part.length;
    if (from.byte < piece.length) continue;
    from.index += 1;
    from.byte = 0;
  }
  return taken;
}

/** How the engine's outcomes look to an NBD client. Undefined: success. */
export function refusalOfOutcome(outcome: HostOutcome): Refusal | undefined {
  switch (outcome) {
    case "ok":
      return undefined;
    case "io":
      return {
        error: nbdError.io,
        message: "the volume or a copy that must not be missing failed",
      };
    case "full":
      return { error: nbdError.noSpace, message: "there is no space left for this volume" };
    case "moved":
    case "gone":
      return { error: nbdError.shutdown, message: "this site no longer serves the volume" };
    default:
      return unreachable(outcome);
  }
}

/** One run of allocation, as long as the wire can say. */
type Run = { readonly length: number; readonly hole: boolean };

/**
 * Turns what the device says into runs for BLOCK_STATUS: neighbours of one kind joined, nothing beyond the range, and
 * not more than `limits.nbdExtentsMax`, since the client asks again from where the answer ended. A device that says
 * nothing has everything stored.
 */
export function runsOf(
  extents: readonly { readonly length: number; readonly hole: boolean }[],
  length: number,
  reqOne: boolean,
): readonly Run[] {
  const runsMax = reqOne ? 1 : limits.nbdExtentsMax;
  const runs: { length: number; hole: boolean }[] = [];
  let covered = 0;
  for (const extent of extents) {
    const taken = Math.min(extent.length, length - covered);
    if (taken <= 0) continue;
    const last = runs.at(-1);
    if (last !== undefined && last.hole === extent.hole) last.length += taken;
    else if (runs.length < runsMax) runs.push({ length: taken, hole: extent.hole });
    else break;
    covered += taken;
  }
  return runs.length === 0 ? [{ length, hole: false }] : runs;
}
