import { connect, type Socket } from "node:net";

/** A client that says whatever a test wants, byte for byte, and reads what comes back. */
export type RawNbdClient = {
  readonly socket: Socket;
  send(...parts: readonly Uint8Array[]): void;
  /** The next bytes; rejects when the connection closes before there are as many. */
  read(count: number): Promise<Buffer>;
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>;
};

export function connectRaw(where: { path: string } | { port: number }): RawNbdClient {
  const socket = connect("path" in where ? where : { host: "127.0.0.1", port: where.port });
  const closed = Promise.withResolvers<void>();
  let received = Buffer.alloc(0);
  let isClosed = false;
  let wanted: { count: number; give(): void } | undefined;
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    if (wanted !== undefined && received.length >= wanted.count) wanted.give();
  });
  // A reset is one way in which a server hangs up; `close` follows it.
  socket.on("error", () => undefined);
  socket.on("close", () => {
    isClosed = true;
    wanted?.give();
    closed.resolve();
  });
  return {
    socket,
    send: (...parts) => void socket.write(Buffer.concat(parts)),
    async read(count) {
      if (received.length < count && !isClosed) {
        await new Promise<void>((give) => (wanted = { count, give }));
        wanted = undefined;
      }
      if (received.length < count)
        throw new Error(`closed after ${received.length} of ${count} bytes`);
      const bytes = received.subarray(0, count);
      received = received.subarray(count);
      return bytes;
    },
    closed: closed.promise,
  };
}

/** Client flags: fixed newstyle, no zeroes. */
export const clientFlags = number32(3);

export function encodeOption(code: number, data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from("IHAVEOPT"), number32(code), number32(data.length), data]);
}

/** The data of INFO and GO, without information requests. */
export function encodeGo(name: string): Buffer {
  const bytes = Buffer.from(name);
  return encodeOption(7, Buffer.concat([number32(bytes.length), bytes, Buffer.alloc(2)]));
}

export type RawRequest = {
  type: number;
  flags?: number;
  cookie?: number;
  offset?: number;
  length: number;
};

export function encodeRequest({
  type,
  flags = 0,
  cookie = 0,
  offset = 0,
  length,
}: RawRequest): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x25609513, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(BigInt(cookie), 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

export function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Goes through the handshake and enters an export with EXPORT_NAME: from here on, requests and simple replies. */
export async function enterRaw(
  where: { path: string } | { port: number },
  name: string,
): Promise<RawNbdClient> {
  const client = connectRaw(where);
  client.send(clientFlags, encodeOption(1, Buffer.from(name)));
  await client.read(18 + 10);
  return client;
}

/** Reads one simple reply: its error and its cookie. */
export async function readSimple(client: RawNbdClient): Promise<{ error: number; cookie: number }> {
  const bytes = await client.read(16);
  if (bytes.readUInt32BE(0) !== 0x67446698) throw new Error("not a simple reply");
  return { error: bytes.readUInt32BE(4), cookie: Number(bytes.readBigUInt64BE(8)) };
}
