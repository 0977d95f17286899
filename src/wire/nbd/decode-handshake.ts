import { limits } from "#base/limits.ts";
import { magic, option, size, type HandshakeMessage, type Malformed } from "./messages.ts";

/**
 * What a client has sent before transmission and nobody has decoded yet. It never holds more than one option header and
 * `limits.nbdOptionBytesMax` of data beyond the chunk that came last: longer data is counted and dropped, not kept.
 */
export type HandshakeDecoder = {
  expects: "clientFlags" | "option";
  buffer: Uint8Array;
  /** Bytes of an oversized option still to be dropped before its refusal is reported. */
  skip: number;
  skippedOption: number;
};

export function createHandshakeDecoder(): HandshakeDecoder {
  return { expects: "clientFlags", buffer: new Uint8Array(0), skip: 0, skippedOption: 0 };
}

/** Adds received bytes. The handshake is small and happens once, so that here a copy costs nothing. */
export function pushHandshake(decoder: HandshakeDecoder, chunk: Uint8Array): void {
  if (decoder.buffer.length === 0) {
    decoder.buffer = chunk;
    return;
  }
  const joined = new Uint8Array(decoder.buffer.length + chunk.length);
  joined.set(decoder.buffer);
  joined.set(chunk, decoder.buffer.length);
  decoder.buffer = joined;
}

/**
 * Takes the next whole message. Undefined: more bytes are needed. After the message that starts transmission, what is
 * left in `buffer` belongs to the request decoder.
 */
export function nextHandshake(decoder: HandshakeDecoder): HandshakeMessage | Malformed | undefined {
  if (decoder.expects === "clientFlags") return takeClientFlags(decoder);
  if (decoder.skip > 0) return skipOption(decoder);
  return takeOption(decoder);
}

function takeClientFlags(decoder: HandshakeDecoder): HandshakeMessage | undefined {
  if (decoder.buffer.length < size.clientFlags) return undefined;
  const flags = viewOf(decoder.buffer).getUint32(0);
  decoder.buffer = decoder.buffer.subarray(size.clientFlags);
  decoder.expects = "option";
  return { kind: "clientFlags", flags };
}

function takeOption(decoder: HandshakeDecoder): HandshakeMessage | Malformed | undefined {
  const { buffer } = decoder;
  if (buffer.length < size.optionHeader) return undefined;
  const view = viewOf(buffer);
  if (view.getUint32(0) !== magic.optionHigh || view.getUint32(4) !== magic.optionLow) {
    return { kind: "malformed", why: "an option does not begin with IHAVEOPT" };
  }
  const code = view.getUint32(8);
  const length = view.getUint32(12);
  if (length > limits.nbdOptionBytesMax) {
    if (length > limits.nbdOptionSkipBytesMax) {
      return { kind: "malformed", why: `option ${code} announces ${length} bytes of data` };
    }
    decoder.buffer = buffer.subarray(size.optionHeader);
    decoder.skip = length;
    decoder.skippedOption = code;
    return skipOption(decoder);
  }
  const end = size.optionHeader + length;
  if (buffer.length < end) return undefined;
  decoder.buffer = buffer.subarray(end);
  return parseOption(code, buffer.subarray(size.optionHeader, end));
}

function skipOption(decoder: HandshakeDecoder): HandshakeMessage | undefined {
  const dropped = Math.min(decoder.skip, decoder.buffer.length);
  decoder.skip -= dropped;
  decoder.buffer = decoder.buffer.subarray(dropped);
  if (decoder.skip > 0) return undefined;
  const why = `its data is longer than ${limits.nbdOptionBytesMax} bytes`;
  return { kind: "badOption", option: decoder.skippedOption, tooBig: true, why };
}

function parseOption(code: number, data: Uint8Array): HandshakeMessage | Malformed {
  switch (code) {
    case option.exportName: {
      const name = decodeText(data);
      // This option has no error reply; the text demands that the session ends.
      if (name === undefined)
        return { kind: "malformed", why: "EXPORT_NAME with a name that is not a string" };
      return { kind: "exportName", name };
    }
    case option.abort:
      return { kind: "abort" };
    case option.list:
      return data.length === 0 ? { kind: "list" } : bad(code, "LIST takes no data");
    case option.structuredReply:
      return data.length === 0
        ? { kind: "structuredReply" }
        : bad(code, "STRUCTURED_REPLY takes no data");
    case option.info:
    case option.go:
      return parseExport(code, data);
    case option.listMetaContext:
    case option.setMetaContext:
      return parseMetaContext(code, data);
    default:
      return { kind: "unknownOption", option: code };
  }
}

// INFO and GO:  name length:32  name  count:16  count times info:16
function parseExport(code: number, data: Uint8Array): HandshakeMessage {
  if (data.length < 6) return bad(code, "it is too short for a name and a count");
  const view = viewOf(data);
  const nameLength = view.getUint32(0);
  if (nameLength > data.length - 6) return bad(code, "the name is longer than the option");
  const name = decodeText(data.subarray(4, 4 + nameLength));
  if (name === undefined) return bad(code, "the name is not a string");
  const count = view.getUint16(4 + nameLength);
  if (data.length !== 6 + nameLength + 2 * count) {
    return bad(code, "the number of information requests does not fit its length");
  }
  const infos: number[] = [];
  for (let at = 6 + nameLength; at < data.length; at += 2) infos.push(view.getUint16(at));
  return { kind: "export", enter: code === option.go, name, infos };
}

// LIST and SET_META_CONTEXT:  name length:32  name  count:32  count times (query length:32  query)
function parseMetaContext(code: number, data: Uint8Array): HandshakeMessage {
  if (data.length < 8) return bad(code, "it is too short for a name and a count");
  const view = viewOf(data);
  const nameLength = view.getUint32(0);
  if (nameLength > data.length - 8) return bad(code, "the name is longer than the option");
  const name = decodeText(data.subarray(4, 4 + nameLength));
  if (name === undefined) return bad(code, "the name is not a string");
  const count = view.getUint32(4 + nameLength);
  if (count > limits.nbdMetaContextsMax) {
    const why = `more than ${limits.nbdMetaContextsMax} queries`;
    return { kind: "badOption", option: code, tooBig: true, why };
  }
  const queries: string[] = [];
  let at = 8 + nameLength;
  for (let index = 0; index < count; index++) {
    if (data.length - at < 4) return bad(code, "a query is cut off");
    const length = view.getUint32(at);
    at += 4;
    if (length > data.length - at) return bad(code, "a query is longer than the option");
    const query = decodeText(data.subarray(at, at + length));
    if (query === undefined) return bad(code, "a query is not a string");
    queries.push(query);
    at += length;
  }
  if (at !== data.length) return bad(code, "there is data behind the last query");
  return { kind: "metaContext", select: code === option.setMetaContext, name, queries };
}

function bad(code: number, why: string): HandshakeMessage {
  return { kind: "badOption", option: code, tooBig: false, why };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** A string of the protocol ("Conventions"): UTF-8, without NUL, at most 4096 bytes. */
function decodeText(bytes: Uint8Array): string | undefined {
  if (bytes.length > limits.nbdNameBytesMax || bytes.includes(0)) return undefined;
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined; // The decoder has no other way to say that bytes are not UTF-8.
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
