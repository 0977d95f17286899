import type { HostRequest } from "#ports/host-request.ts";

// The words of the NBD protocol (proto.md of the NetworkBlockDevice project), and the messages made of them. All
// numbers on the wire are big-endian. Constants carry the names of the text, without the prefix that their table says.
//
//   server  greeting      NBDMAGIC  IHAVEOPT  handshake flags:16
//   client  client flags  flags:32
//   client  option        IHAVEOPT  option:32  length:32  data
//   server  option reply  0x3e889045565a9:64  option:32  type:32  length:32  data
//   client  request       0x25609513  flags:16  type:16  cookie:64  offset:64  length:32  [data]
//   server  simple reply  0x67446698  error:32  cookie:64  [data]
//   server  chunk         0x668e33ef  flags:16  type:16  cookie:64  length:32  payload

/** The two halves of the 64-bit magics, since we read and write 64 bits as two halves. */
export const magic = {
  nbdHigh: 0x4e42444d,
  nbdLow: 0x41474943,
  optionHigh: 0x49484156,
  optionLow: 0x454f5054,
  optionReplyHigh: 0x0003e889,
  optionReplyLow: 0x045565a9,
  request: 0x25609513,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
} as const;

/** Both the handshake flags of the server and the client flags that answer them. */
export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const transmissionFlag = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
} as const;

export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const optionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errUnsup: 0x8000_0001,
  errPolicy: 0x8000_0002,
  errInvalid: 0x8000_0003,
  errUnknown: 0x8000_0006,
  errTooBig: 0x8000_0009,
} as const;

export const info = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const commandFlag = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const;

export const replyFlag = { done: 1 } as const;

export const replyType = {
  none: 0,
  offsetData: 1,
  blockStatus: 5,
  error: 0x8001,
} as const;

/** Flags of `base:allocation`. A hole of ours always reads as zeros. */
export const allocation = { hole: 1, zero: 2 } as const;

/** What a request may fail with ("Error values"). Zero is success. */
export const nbdError = {
  none: 0,
  perm: 1,
  io: 5,
  invalid: 22,
  noSpace: 28,
  overflow: 75,
  shutdown: 108,
} as const;

export type NbdError = (typeof nbdError)[keyof typeof nbdError];

/** Sizes on the wire, in bytes. */
export const size = {
  greeting: 18,
  clientFlags: 4,
  optionHeader: 16,
  optionReplyHeader: 20,
  request: 28,
  simpleReply: 16,
  chunkHeader: 20,
} as const;

/** A client's message before transmission, parsed and checked for form. Names and queries are valid UTF-8. */
export type HandshakeMessage =
  | { readonly kind: "clientFlags"; readonly flags: number }
  | { readonly kind: "exportName"; readonly name: string }
  | { readonly kind: "abort" }
  | { readonly kind: "list" }
  | { readonly kind: "structuredReply" }
  | {
      readonly kind: "export";
      readonly enter: boolean;
      readonly name: string;
      readonly infos: readonly number[];
    }
  | {
      readonly kind: "metaContext";
      readonly select: boolean;
      readonly name: string;
      readonly queries: readonly string[];
    }
  /** An option that we do not know: refused, and the haggling goes on. */
  | { readonly kind: "unknownOption"; readonly option: number }
  /** A known option with data that its definition does not allow, or longer than we take. */
  | {
      readonly kind: "badOption";
      readonly option: number;
      readonly tooBig: boolean;
      readonly why: string;
    };

/** The client does not speak the protocol; the connection ends, for nothing behind this point can be understood. */
export type Malformed = { readonly kind: "malformed"; readonly why: string };

/**
 * A host's request as the engine sees it, with what its reply needs. All are made in one place with all fields, so that
 * the engine's code meets one hidden class. The cookie is echoed as it came; its halves are signed so that they stay
 * small integers for the compiler.
 */
export type NbdRequest = HostRequest & {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Set on the parts of a request that was too long for the engine; the last part to end answers for all. */
  readonly split: SplitRequest | undefined;
};

/** One TRIM, WRITE_ZEROES or WRITE that became several requests: how many are still out, and how the first that failed did. */
export type SplitRequest = { partsLeft: number; failure: HostRequest["failure"] };
