import { connectRaw, encodeOption, encodeRequest, clientFlags } from "./raw-nbd-client.ts";

/** A host with one connection to an export and as many requests under way as it likes. Failures are NBD errnos, 0 is none. */
export type NbdHost = {
  write(offset: number, bytes: Uint8Array, flags?: { readonly fua: boolean }): Promise<number>;
  flush(): Promise<number>;
  /** Rejects where the read fails. */
  read(offset: number, length: number): Promise<Buffer>;
  /** The cookie of the next request, for tests that look for it in a trace. */
  nextCookie(): bigint;
  /** Requests without a reply. */
  pending(): number;
  /** Resolves when the server has hung up. */
  readonly closed: Promise<void>;
  close(): void;
};

/** A request that the end of the connection left without a reply. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

type Waiting = {
  readonly length: number;
  readonly give: (result: { readonly error: number; readonly bytes: Buffer }) => void;
  readonly lose: (error: Error) => void;
};

const commands = { read: 0, write: 1, flush: 3 } as const;
const flagFua = 1;

/** Enters an export by way of a site's socket file. Rejects when the site refuses it. */
export async function connectHost(socketPath: string, name: string): Promise<NbdHost> {
  const client = connectRaw({ path: socketPath });
  client.send(clientFlags, encodeOption(1, Buffer.from(name)));
  await client.read(18 + 10);
  const waiting = new Map<number, Waiting>();
  let cookie = 0;
  let isLost = false;

  const loop = async (): Promise<void> => {
    for (;;) {
      const header = await client.read(16);
      if (header.readUInt32BE(0) !== 0x67446698) throw new Error("not a simple reply");
      const id = Number(header.readBigUInt64BE(8));
      const request = waiting.get(id);
      if (request === undefined) throw new Error(`a reply to ${id}, which nobody asked for`);
      const error = header.readUInt32BE(4);
      const bytes = error === 0 ? await client.read(request.length) : Buffer.alloc(0);
      waiting.delete(id);
      request.give({ error, bytes });
    }
  };
  const closed = loop().catch((error: unknown) => {
    isLost = true;
    const why = error instanceof Error ? error.message : String(error);
    for (const request of waiting.values()) request.lose(new ConnectionLost(why));
    waiting.clear();
    client.socket.destroy();
  });

  const ask = (
    type: number,
    { offset, length, flags }: { offset: number; length: number; flags: number },
    payload: Uint8Array,
  ): Promise<{ readonly error: number; readonly bytes: Buffer }> => {
    if (isLost) return Promise.reject(new ConnectionLost("closed before"));
    cookie += 1;
    const { promise, resolve, reject } = Promise.withResolvers<{
      readonly error: number;
      readonly bytes: Buffer;
    }>();
    const answerBytes = type === commands.read ? length : 0;
    waiting.set(cookie, { length: answerBytes, give: resolve, lose: reject });
    client.send(encodeRequest({ type, flags, cookie, offset, length }), payload);
    return promise;
  };
  const nothing = Buffer.alloc(0);
  return {
    async write(offset, bytes, options) {
      const flags = options?.fua === true ? flagFua : 0;
      return (await ask(commands.write, { offset, length: bytes.length, flags }, bytes)).error;
    },
    async flush() {
      return (await ask(commands.flush, { offset: 0, length: 0, flags: 0 }, nothing)).error;
    },
    async read(offset, length) {
      const { error, bytes } = await ask(commands.read, { offset, length, flags: 0 }, nothing);
      if (error !== 0) throw new Error(`a read at ${offset} failed with NBD error ${error}`);
      return bytes;
    },
    nextCookie: () => BigInt(cookie + 1),
    pending: () => waiting.size,
    closed,
    close: () => client.socket.destroy(),
  };
}
