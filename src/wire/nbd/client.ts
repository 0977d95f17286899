import { limits } from "#base/limits.ts";
import { addToBody, beginBody, createBody } from "#wire/body.ts";
import type { Body } from "#wire/body.ts";
import {
  command,
  commandFlag,
  handshakeFlag,
  info,
  magic,
  option,
  optionReply,
  size,
  transmissionFlag,
} from "./messages.ts";

// The client's side of NBD (drawings in messages.ts): fixed newstyle, GO, simple replies. What a server says is checked here
// and nowhere else: whatever was not asked for ends the connection.

/** What a server has said of its export. */
export type NbdExport = {
  readonly bytes: number;
  readonly canFlush: boolean;
  readonly canZero: boolean;
  readonly isReadOnly: boolean;
  /** Every offset and length must be a multiple of this. */
  readonly blockBytes: number;
  /** Of a read or write, at most. */
  readonly payloadBytesMax: number;
};

export type NbdClientMessage =
  /** To be sent to the server. */
  | { readonly kind: "send"; readonly bytes: Uint8Array }
  /** Requests may be made. */
  | { readonly kind: "ready"; readonly found: NbdExport }
  /** The server does not give the export, in its words. */
  | { readonly kind: "refused"; readonly why: string }
  /** The server does not speak the protocol; nothing behind this point can be understood. */
  | { readonly kind: "malformed"; readonly why: string }
  /** A request is answered; `error` is one of the protocol's, 0 when it is done. `payload` has all bytes of a read. */
  | {
      readonly kind: "reply";
      readonly cookie: number;
      readonly error: number;
      readonly payload: readonly Uint8Array[];
    };

/** One connection, from its first byte on. */
export type NbdClient = {
  readonly name: string;
  phase: "greeting" | "options" | "ready" | "over";
  /** What was received and not yet understood. */
  buffer: Uint8Array;
  found: NbdExport | undefined;
  blocks: Pick<NbdExport, "blockBytes" | "payloadBytesMax">;
  /** Payload that the reply to a request brings, by cookie. */
  readonly asked: Map<number, number>;
  nextCookie: number;
  /** The reply whose payload is on its way. */
  coming: { readonly cookie: number; readonly body: Body } | undefined;
};

export function createNbdClient(name: string): NbdClient {
  return {
    name,
    phase: "greeting",
    buffer: new Uint8Array(0),
    found: undefined,
    blocks: { blockBytes: 1, payloadBytesMax: limits.hostRequestBytesMax },
    asked: new Map(),
    nextCookie: 1,
    coming: undefined,
  };
}

export type NbdCommand = {
  readonly kind: "read" | "write" | "zero" | "flush";
  readonly offset: number;
  readonly length: number;
  /** For `zero`: the range need not keep its space. */
  readonly mayPunch: boolean;
};

const types = {
  read: command.read,
  write: command.write,
  zero: command.writeZeroes,
  flush: command.flush,
} as const;

/** The header of a request, and the cookie by which its reply is known. A write's bytes follow the header. */
export function encodeCommand(
  client: NbdClient,
  { kind, offset, length, mayPunch }: NbdCommand,
): { readonly cookie: number; readonly bytes: Uint8Array } {
  const cookie = client.nextCookie;
  client.nextCookie += 1;
  client.asked.set(cookie, kind === "read" ? length : 0);
  const bytes = new Uint8Array(size.request);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic.request);
  view.setUint16(4, kind === "zero" && !mayPunch ? commandFlag.noHole : 0);
  view.setUint16(6, types[kind]);
  setUint64(view, 8, cookie);
  setUint64(view, 16, offset);
  view.setUint32(24, length);
  return { cookie, bytes };
}

/** Ends the session in the protocol's words; there is no reply. */
export function encodeDisconnect(): Uint8Array {
  const bytes = new Uint8Array(size.request);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic.request);
  view.setUint16(6, command.disconnect);
  return bytes;
}

/** Adds what was received. `nextMessage` is to be asked until it has no more, before the next chunk comes. */
export function pushChunk(client: NbdClient, chunk: Uint8Array): void {
  if (client.phase === "over") return;
  if (client.buffer.length === 0) {
    client.buffer = chunk;
    return;
  }
  // At most a header, or an option's bounded data, waits here: payload goes to its body at once.
  const joined = new Uint8Array(client.buffer.length + chunk.length);
  joined.set(client.buffer);
  joined.set(chunk, client.buffer.length);
  client.buffer = joined;
}

/** The next thing to do; undefined: more bytes are needed. After `refused` or `malformed` there is nothing more. */
export function nextMessage(client: NbdClient): NbdClientMessage | undefined {
  switch (client.phase) {
    case "greeting":
      return takeGreeting(client);
    case "options":
      return takeOptionReply(client);
    case "ready":
      return takeReply(client);
    case "over":
      return undefined;
  }
}

function takeGreeting(client: NbdClient): NbdClientMessage | undefined {
  if (client.buffer.length < size.greeting) return undefined;
  const view = take(client, size.greeting);
  if (view.getUint32(0) !== magic.nbdHigh || view.getUint32(4) !== magic.nbdLow)
    return malformed(client, "it does not begin with NBDMAGIC");
  if (view.getUint32(8) !== magic.optionHigh || view.getUint32(12) !== magic.optionLow)
    return malformed(client, "it speaks the oldstyle handshake, which has no names");
  const flags = view.getUint16(16);
  if ((flags & handshakeFlag.fixedNewstyle) === 0)
    return malformed(client, "it does not speak the fixed newstyle handshake");
  client.phase = "options";
  return { kind: "send", bytes: encodeGo(client.name, flags & handshakeFlag.noZeroes) };
}

// Client flags:32  IHAVEOPT  GO:32  length:32  name length:32  name  count:16  BLOCK_SIZE:16
function encodeGo(name: string, noZeroes: number): Uint8Array {
  const text = new TextEncoder().encode(name);
  const bytes = new Uint8Array(size.clientFlags + size.optionHeader + 8 + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, handshakeFlag.fixedNewstyle | noZeroes);
  view.setUint32(4, magic.optionHigh);
  view.setUint32(8, magic.optionLow);
  view.setUint32(12, option.go);
  view.setUint32(16, 8 + text.length);
  view.setUint32(20, text.length);
  bytes.set(text, 24);
  view.setUint16(24 + text.length, 1);
  view.setUint16(26 + text.length, info.blockSize);
  return bytes;
}

function takeOptionReply(client: NbdClient): NbdClientMessage | undefined {
  for (;;) {
    const reply = takeOneOptionReply(client);
    if (reply !== "more") return reply;
  }
}

function takeOneOptionReply(client: NbdClient): NbdClientMessage | "more" | undefined {
  if (client.buffer.length < size.optionReplyHeader) return undefined;
  const head = viewOf(client.buffer);
  if (head.getUint32(0) !== magic.optionReplyHigh || head.getUint32(4) !== magic.optionReplyLow)
    return malformed(client, "an option's reply does not begin with its magic");
  if (head.getUint32(8) !== option.go)
    return malformed(client, `it answers option ${head.getUint32(8)}, which was not asked`);
  const type = head.getUint32(12);
  const length = head.getUint32(16);
  if (length > limits.nbdOptionBytesMax)
    return malformed(client, `an option's reply announces ${length} bytes`);
  if (client.buffer.length < size.optionReplyHeader + length) return undefined;
  take(client, size.optionReplyHeader);
  const data = take(client, length);
  if (type === optionReply.ack) return goAhead(client);
  if (type === optionReply.info) return takeInfo(client, data) ?? "more";
  if (type < 0x8000_0000) return malformed(client, `it answers GO by a reply of type ${type}`);
  client.phase = "over";
  return { kind: "refused", why: refusalOf(type, data) };
}

function goAhead(client: NbdClient): NbdClientMessage {
  if (client.found === undefined) return malformed(client, "it agrees without naming a size");
  client.phase = "ready";
  return { kind: "ready", found: { ...client.found, ...client.blocks } };
}

// EXPORT: type:16 size:64 flags:16. BLOCK_SIZE: type:16 minimum:32 preferred:32 maximum payload:32. Others are of no interest.
function takeInfo(client: NbdClient, data: DataView): NbdClientMessage | undefined {
  const type = data.byteLength >= 2 ? data.getUint16(0) : -1;
  if (type === -1 || (type === info.export && data.byteLength !== 12))
    return malformed(client, "what it says of the export does not fit its length");
  if (type === info.export) {
    const bytes = data.getUint32(2) * 0x1_0000_0000 + data.getUint32(6);
    if (!Number.isSafeInteger(bytes)) return malformed(client, "its size cannot be counted");
    const flags = data.getUint16(10);
    const has = (flag: number): boolean => (flags & flag) !== 0;
    client.found = {
      bytes,
      canFlush: has(transmissionFlag.sendFlush),
      canZero: has(transmissionFlag.sendWriteZeroes),
      isReadOnly: has(transmissionFlag.readOnly),
      ...client.blocks,
    };
  }
  if (type !== info.blockSize) return undefined;
  if (data.byteLength !== 14)
    return malformed(client, "what it says of blocks does not fit its length");
  const [blockBytes, payloadBytesMax] = [data.getUint32(2), data.getUint32(10)];
  if (blockBytes === 0 || payloadBytesMax < blockBytes)
    return malformed(client, `blocks of ${blockBytes} to ${payloadBytesMax} bytes cannot be`);
  client.blocks = { blockBytes, payloadBytesMax };
  return undefined;
}

function refusalOf(type: number, data: DataView): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  // It is shown to people: not too long, and in one line.
  const said = new TextDecoder()
    .decode(bytes)
    .replaceAll(/[^ -~]+/g, " ")
    .slice(0, 200)
    .trim();
  const why =
    type === optionReply.errUnknown ? "it has no such export" : `error ${type - 0x8000_0000}`;
  return said === "" ? why : `${why}: ${said}`;
}

function takeReply(client: NbdClient): NbdClientMessage | undefined {
  if (client.coming !== undefined) return takePayload(client, client.coming);
  if (client.buffer.length < size.simpleReply) return undefined;
  const head = take(client, size.simpleReply);
  if (head.getUint32(0) !== magic.simpleReply)
    return malformed(client, "a reply does not begin with its magic");
  const error = head.getUint32(4);
  const cookie = head.getUint32(8) * 0x1_0000_0000 + head.getUint32(12);
  const bytes = client.asked.get(cookie);
  if (bytes === undefined) return malformed(client, "it answers what was not asked");
  client.asked.delete(cookie);
  if (error !== 0 || bytes === 0) return { kind: "reply", cookie, error, payload: [] };
  const body = createBody((count) => new Uint8Array(count));
  beginBody(body, bytes);
  client.coming = { cookie, body };
  return takePayload(client, client.coming);
}

function takePayload(
  client: NbdClient,
  { cookie, body }: { readonly cookie: number; readonly body: Body },
): NbdClientMessage | undefined {
  const count = Math.min(body.missing, client.buffer.length);
  if (count > 0) addToBody(body, client.buffer.subarray(0, count));
  client.buffer = client.buffer.subarray(count);
  if (body.missing > 0) return undefined;
  client.coming = undefined;
  return { kind: "reply", cookie, error: 0, payload: body.pieces };
}

function malformed(client: NbdClient, why: string): NbdClientMessage {
  client.phase = "over";
  return { kind: "malformed", why };
}

function take(client: NbdClient, count: number): DataView {
  const view = viewOf(client.buffer.subarray(0, count));
  client.buffer = client.buffer.subarray(count);
  return view;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Writes a safe integer as 64 bits. */
function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value % 0x1_0000_0000);
}
