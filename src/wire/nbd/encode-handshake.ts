import { handshakeFlag, info, magic, optionReply, size } from "./messages.ts";

// What the server says before transmission (drawings in messages.ts). Once per connection, so plain allocation is fine.

const utf8 = new TextEncoder();

/** The first words on every connection: fixed newstyle, and EXPORT_NAME may go without its 124 zeroes. */
export function encodeGreeting(): Uint8Array {
  const bytes = new Uint8Array(18);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic.nbdHigh);
  view.setUint32(4, magic.nbdLow);
  view.setUint32(8, magic.optionHigh);
  view.setUint32(12, magic.optionLow);
  view.setUint16(16, handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes);
  return bytes;
}

/** The answer to EXPORT_NAME: size:64 flags:16, and 124 zeroes for clients that did not decline them. */
export function encodeExportNameReply(
  volumeBytes: number,
  flags: number,
  zeroes: boolean,
): Uint8Array {
  const bytes = new Uint8Array(zeroes ? 134 : 10);
  const view = new DataView(bytes.buffer);
  setUint64(view, 0, volumeBytes);
  view.setUint16(8, flags);
  return bytes;
}

function encodeOptionReply(option: number, type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(size.optionReplyHeader + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic.optionReplyHigh);
  view.setUint32(4, magic.optionReplyLow);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, data.length);
  bytes.set(data, size.optionReplyHeader);
  return bytes;
}

export function encodeAck(option: number): Uint8Array {
  return encodeOptionReply(option, optionReply.ack, new Uint8Array(0));
}

/** An error reply; `why` is shown to a person at the other end. */
export function encodeOptionError(option: number, type: number, why: string): Uint8Array {
  return encodeOptionReply(option, type, utf8.encode(why));
}

/** One entry of LIST: name length:32 name, and behind it a description for people, which may be empty. */
export function encodeListEntry(option: number, name: string, description: string): Uint8Array {
  const nameBytes = utf8.encode(name);
  const descriptionBytes = utf8.encode(description);
  const data = new Uint8Array(4 + nameBytes.length + descriptionBytes.length);
  new DataView(data.buffer).setUint32(0, nameBytes.length);
  data.set(nameBytes, 4);
  data.set(descriptionBytes, 4 + nameBytes.length);
  return encodeOptionReply(option, optionReply.server, data);
}

/** NBD_INFO_EXPORT: type:16 size:64 flags:16. */
export function encodeExportInfo(option: number, volumeBytes: number, flags: number): Uint8Array {
  const data = new Uint8Array(12);
  const view = new DataView(data.buffer);
  view.setUint16(0, info.export);
  setUint64(view, 2, volumeBytes);
  view.setUint16(10, flags);
  return encodeOptionReply(option, optionReply.info, data);
}

/** NBD_INFO_NAME: type:16 name. */
export function encodeNameInfo(option: number, name: string): Uint8Array {
  const nameBytes = utf8.encode(name);
  const data = new Uint8Array(2 + nameBytes.length);
  new DataView(data.buffer).setUint16(0, info.name);
  data.set(nameBytes, 2);
  return encodeOptionReply(option, optionReply.info, data);
}

/** NBD_INFO_BLOCK_SIZE: type:16 minimum:32 preferred:32 maximum payload:32. */
export function encodeBlockSizeInfo(
  option: number,
  blocks: { readonly minimum: number; readonly preferred: number; readonly payloadMax: number },
): Uint8Array {
  const data = new Uint8Array(14);
  const view = new DataView(data.buffer);
  view.setUint16(0, info.blockSize);
  view.setUint32(2, blocks.minimum);
  view.setUint32(6, blocks.preferred);
  view.setUint32(10, blocks.payloadMax);
  return encodeOptionReply(option, optionReply.info, data);
}

/** One metadata context: id:32 name. */
export function encodeMetaContext(option: number, id: number, name: string): Uint8Array {
  const nameBytes = utf8.encode(name);
  const data = new Uint8Array(4 + nameBytes.length);
  new DataView(data.buffer).setUint32(0, id);
  data.set(nameBytes, 4);
  return encodeOptionReply(option, optionReply.metaContext, data);
}

/** Writes a safe integer as 64 bits. */
function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value % 0x1_0000_0000);
}
