import { assert, unreachable } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { Exports } from "#ports/exports.ts";
import type { HostVolume } from "#ports/host-request.ts";
import {
  encodeAck,
  encodeBlockSizeInfo,
  encodeExportInfo,
  encodeExportNameReply,
  encodeListEntry,
  encodeMetaContext,
  encodeNameInfo,
  encodeOptionError,
} from "./encode-handshake.ts";
import {
  handshakeFlag,
  info,
  option,
  optionReply,
  transmissionFlag,
  type HandshakeMessage,
} from "./messages.ts";

/**
 * How far one client has come before transmission, and what it has negotiated.
 *
 *   client flags --> options --+-- GO or EXPORT_NAME --> transmission
 *                      ^   |   +-- ABORT --------------> over
 *                      +---+   anything else is answered, refused or not, and the haggling goes on
 */
export type Handshake = {
  state: "clientFlags" | "options" | "over";
  /** The client wants no 124 zeroes behind the answer to EXPORT_NAME. */
  noZeroes: boolean;
  structured: boolean;
  /** The export for which the client has selected `base:allocation`; it counts only if this one is entered. */
  allocationOf: string | undefined;
  options: number;
};

/**
 * What follows from a message. `serve`: transmission begins. `end`: the client asked for it. `fail`: the session cannot
 * go on, and the protocol has no way to tell the client why.
 */
export type HandshakeStep =
  | { readonly kind: "continue" }
  | { readonly kind: "serve"; readonly volume: HostVolume; readonly transmission: Transmission }
  | { readonly kind: "end" }
  | { readonly kind: "fail"; readonly why: string };

/** What was agreed on for transmission, and what every request is judged by. */
export type Transmission = {
  readonly volumeBytes: number;
  readonly structured: boolean;
  /** `base:allocation` was selected for this export. */
  readonly allocation: boolean;
};

/** The only metadata context there is. */
export const allocationContext = { id: 1, name: "base:allocation" } as const;

/** Sizes we announce. They are the protocol's defaults, so that clients that never ask may use them too. */
const blockSizes = {
  minimum: 1,
  preferred: 4096,
  payloadMax: limits.hostRequestBytesMax,
} as const;

const goOn: HandshakeStep = { kind: "continue" };

export function createHandshake(): Handshake {
  return {
    state: "clientFlags",
    noZeroes: false,
    structured: false,
    allocationOf: undefined,
    options: 0,
  };
}

/** Takes the next message of a client. What the server says to it is added to `out`. */
export function stepHandshake(
  handshake: Handshake,
  message: HandshakeMessage,
  exports: Exports,
  out: Uint8Array[],
): HandshakeStep {
  assert(handshake.state !== "over", "a message after the end of the handshake");
  if (message.kind === "clientFlags") return onClientFlags(handshake, message.flags);
  assert(handshake.state === "options", "an option before the client flags");
  handshake.options++;
  if (handshake.options > limits.nbdOptionsPerHandshakeMax) {
    return fail(handshake, `more than ${limits.nbdOptionsPerHandshakeMax} options`);
  }
  switch (message.kind) {
    case "exportName":
      return onExportName(handshake, message.name, exports, out);
    case "abort":
      out.push(encodeAck(option.abort));
      handshake.state = "over";
      return { kind: "end" };
    case "list":
      // Clients ask about each name in turn, and nbdinfo gives up at the first that it cannot enter.
      for (const { name, served } of exports.list()) {
        if (served) out.push(encodeListEntry(option.list, name, ""));
      }
      out.push(encodeAck(option.list));
      return goOn;
    case "structuredReply":
      handshake.structured = true;
      out.push(encodeAck(option.structuredReply));
      return goOn;
    case "export":
      return onExport(handshake, message, exports, out);
    case "metaContext":
      onMetaContext(handshake, message, exports, out);
      return goOn;
    case "unknownOption":
      out.push(
        encodeOptionError(message.option, optionReply.errUnsup, unsupported(message.option)),
      );
      return goOn;
    case "badOption":
      // Every SET_META_CONTEXT replaces what was selected before, also one that fails.
      if (message.option === option.setMetaContext) handshake.allocationOf = undefined;
      out.push(
        encodeOptionError(
          message.option,
          message.tooBig ? optionReply.errTooBig : optionReply.errInvalid,
          `the option is refused: ${message.why}`,
        ),
      );
      return goOn;
    default:
      return unreachable(message);
  }
}

function onClientFlags(handshake: Handshake, flags: number): HandshakeStep {
  assert(handshake.state === "clientFlags", "client flags for a second time");
  // A client may leave out FIXED_NEWSTYLE; we take its options all the same, as the text allows.
  const known = handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes;
  if ((flags & ~known) !== 0)
    return fail(handshake, `unknown client flags 0x${flags.toString(16)}`);
  handshake.noZeroes = (flags & handshakeFlag.noZeroes) !== 0;
  handshake.state = "options";
  return goOn;
}

/** The old way to enter an export. It has no error reply: whoever asks for the wrong name is hung up on. */
function onExportName(
  handshake: Handshake,
  name: string,
  exports: Exports,
  out: Uint8Array[],
): HandshakeStep {
  const found = exports.find(name);
  if (found.kind === "unknown") return fail(handshake, unknownExport(name, exports));
  if (found.kind === "refused") return fail(handshake, found.why);
  out.push(encodeExportNameReply(found.volume.bytes, flagsOf(handshake), !handshake.noZeroes));
  return serve(handshake, name, found.volume);
}

/** INFO and GO. */
function onExport(
  handshake: Handshake,
  message: HandshakeMessage & { kind: "export" },
  exports: Exports,
  out: Uint8Array[],
): HandshakeStep {
  const code = message.enter ? option.go : option.info;
  const found = exports.find(message.name);
  if (found.kind !== "served") {
    out.push(encodeNotServed(code, message.name, found, exports));
    return goOn;
  }
  out.push(encodeExportInfo(code, found.volume.bytes, flagsOf(handshake)));
  if (message.infos.includes(info.name)) out.push(encodeNameInfo(code, message.name));
  if (message.infos.includes(info.blockSize)) out.push(encodeBlockSizeInfo(code, blockSizes));
  out.push(encodeAck(code));
  return message.enter ? serve(handshake, message.name, found.volume) : goOn;
}

/** LIST_META_CONTEXT and SET_META_CONTEXT. Queries for what we do not have are passed over, as the text demands. */
function onMetaContext(
  handshake: Handshake,
  message: HandshakeMessage & { kind: "metaContext" },
  exports: Exports,
  out: Uint8Array[],
): void {
  const code = message.select ? option.setMetaContext : option.listMetaContext;
  if (message.select) handshake.allocationOf = undefined;
  if (!handshake.structured) {
    const why = "metadata contexts need structured replies, which were not negotiated";
    out.push(encodeOptionError(code, optionReply.errInvalid, why));
    return;
  }
  const found = exports.find(message.name);
  if (found.kind !== "served") {
    out.push(encodeNotServed(code, message.name, found, exports));
    return;
  }
  const everything =
    !message.select && (message.queries.length === 0 || message.queries.includes("base:"));
  if (everything || message.queries.includes(allocationContext.name)) {
    // When listing, the id is reserved and zero.
    out.push(
      encodeMetaContext(code, message.select ? allocationContext.id : 0, allocationContext.name),
    );
    if (message.select) handshake.allocationOf = message.name;
  }
  out.push(encodeAck(code));
}

function serve(handshake: Handshake, name: string, volume: HostVolume): HandshakeStep {
  handshake.state = "over";
  const allocation = handshake.allocationOf === name;
  const transmission = { volumeBytes: volume.bytes, structured: handshake.structured, allocation };
  return { kind: "serve", volume, transmission };
}

function fail(handshake: Handshake, why: string): HandshakeStep {
  handshake.state = "over";
  return { kind: "fail", why };
}

/** Every export can do the same; only DF depends on what was negotiated. */
function flagsOf(handshake: Handshake): number {
  return (
    transmissionFlag.hasFlags |
    transmissionFlag.sendFlush |
    transmissionFlag.sendFua |
    transmissionFlag.sendTrim |
    transmissionFlag.sendWriteZeroes |
    transmissionFlag.canMultiConn |
    (handshake.structured ? transmissionFlag.sendDf : 0)
  );
}

function encodeNotServed(
  code: number,
  name: string,
  found: { readonly kind: "unknown" } | { readonly kind: "refused"; readonly why: string },
  exports: Exports,
): Uint8Array {
  return found.kind === "refused"
    ? encodeOptionError(code, optionReply.errPolicy, found.why)
    : encodeOptionError(code, optionReply.errUnknown, unknownExport(name, exports));
}

const namesShownMax = 5;

function unknownExport(name: string, exports: Exports): string {
  const names = exports.list().map((each) => each.name);
  const shown = names.slice(0, namesShownMax).join(", ");
  const rest = names.length > namesShownMax ? ` and ${names.length - namesShownMax} more` : "";
  const what =
    name === "" ? "there is no default export" : `there is no export "${name.slice(0, 256)}"`;
  return `${what}; this site has ${names.length === 0 ? "none" : shown + rest}`;
}

function unsupported(code: number): string {
  return code === option.startTls ? "TLS is not supported" : `option ${code} is not supported`;
}
