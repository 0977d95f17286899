import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { setImmediate } from "node:timers/promises";
import { test, type TestContext } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { createLink, TcpProxy } from "./proxy.ts";

type Ends = { readonly near: net.Socket; readonly far: net.Socket; readonly proxy: TcpProxy };

/** A connection by way of a proxy; nobody reads from its far end yet. */
async function connectEnds(t: TestContext, link = createLink()): Promise<Ends> {
  const server = net.createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const proxy = new TcpProxy(`127.0.0.1:${address.port}`, link);
  await proxy.listen();
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  const [host, port] = proxy.address.split(":");
  const near = net.connect({ host, port: Number(port) });
  const [far] = await accepted;
  for (const end of [near, far]) end.on("error", () => undefined);
  t.after(async () => {
    near.destroy();
    far.destroy();
    await proxy.close();
    await new Promise((resolve) => server.close(resolve));
  });
  return { near, far, proxy };
}

test("a narrow link holds a bounded part of what is sent, and everything gets through in order", async (t) => {
  const link = createLink();
  const { near, far, proxy } = await connectEnds(t, link);
  proxy.bytesPerSecond = 20_000_000;
  proxy.delayMs = 5;
  const sent = Buffer.alloc(6 * MiB);
  for (let at = 0; at < sent.length; at += 4) sent.writeUInt32LE(at, at);
  near.end(sent);
  const received: Buffer[] = [];
  let heldBytesMax = 0;
  far.on("data", (chunk: Buffer) => {
    heldBytesMax = Math.max(heldBytesMax, link.forth.heldBytes());
    received.push(chunk);
  });
  far.resume();
  while (received.reduce((sum, { length }) => sum + length, 0) < sent.length)
    await once(far, "data");
  assert.ok(Buffer.concat(received).equals(sent));
  // 5 ms of distance and 50 ms of queue, and the chunk that filled it.
  assert.ok(heldBytesMax <= 1_100_000 + 64 * KiB, `${heldBytesMax} bytes were held`);
});

test("what the far end does not take is left with the dialer", async (t) => {
  const { near, far, proxy } = await connectEnds(t);
  const totalBytes = 64 * MiB;
  near.write(Buffer.alloc(totalBytes));
  // Turns of the loop, in each of which the proxy could take a MiB and more.
  for (let turn = 0; turn < 500; turn += 1) await setImmediate();
  // The kernel's buffers of a connection hold some MiB beside the proxy's one.
  const heldBytes = proxy.bytesForth();
  assert.ok(heldBytes > 0 && heldBytes <= 24 * MiB, `${heldBytes} bytes were taken`);
  let takenBytes = 0;
  far.on("data", (chunk: Buffer) => (takenBytes += chunk.length));
  far.resume();
  while (takenBytes < totalBytes) await once(far, "data");
});
