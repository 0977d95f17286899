import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { totalBytes } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { until } from "../../test/support/until.ts";
import { listen } from "./listen.ts";
import { createTransport } from "./transport.ts";
import { ReceivedMemory, type Release, type Sender, senderDone } from "./received-memory.ts";

const large = limits.giveBackBytesMin;

test("a chunk that fills its block is freed at once where nobody sends", () => {
  const memory = new ReceivedMemory();
  const chunk = new Uint8Array(large);
  memory.giveBack([chunk]);
  assert.equal(chunk.length, 0);
});

test("a block of several chunks comes back with the last of them, and is used again", () => {
  const memory = new ReceivedMemory();
  const block = memory.take(3 * large).fill(7);
  const [first, rest] = [block.subarray(0, large), block.subarray(large)];
  memory.giveBack([rest]);
  assert.equal(rest.length, 2 * large);
  memory.giveBack([first]);
  assert.equal(block.length + first.length + rest.length, 0);
  assert.deepEqual(memory.take(3 * large), new Uint8Array(3 * large).fill(7));
});

test("a chunk with neighbours in its block, or a small one, is left alone", () => {
  const memory = new ReceivedMemory();
  const block = new Uint8Array(2 * large).fill(1);
  const small = new Uint8Array(large - 1).fill(1);
  memory.giveBack([block.subarray(0, large), small]);
  assert.ok(block.every((byte) => byte === 1) && small.every((byte) => byte === 1));
});

test("a chunk stays as long as any busy sender may still read from it", () => {
  const memory = new ReceivedMemory();
  const [first, second, idle] = [createSender(true), createSender(true), createSender(false)];
  for (const sender of [first, second, idle]) memory.join(sender);
  const chunk = new Uint8Array(large);
  memory.giveBack([chunk]);
  assert.equal(idle.releases.length, 0);
  for (const release of first.releases) senderDone(release);
  assert.equal(chunk.length, large);
  for (const release of second.releases) senderDone(release);
  assert.equal(chunk.length, 0);
});

test("a sender that has left is not waited for", () => {
  const memory = new ReceivedMemory();
  const sender = createSender(true);
  memory.join(sender);
  memory.leave(sender);
  const chunk = new Uint8Array(large);
  memory.giveBack([chunk]);
  assert.equal(chunk.length, 0);
});

test("what is given back while a connection still sends it arrives whole, and is freed then", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const memory = new ReceivedMemory();
  const received: Uint8Array[] = [];
  const listener = await listen({
    address: `unix:${join(temp, "peer.sock")}`,
    onConnection: () => ({
      onData: (chunk) => received.push(chunk),
      onDrain: () => undefined,
      onClose: () => undefined,
    }),
    onTrouble: assert.fail,
  });
  t.after(() => listener.close());
  const chunks = Array.from({ length: 64 }, (_, index) => new Uint8Array(4 * large).fill(index));
  const expected = Buffer.concat(chunks);
  createTransport(memory).dial(listener.address, 5_000, {
    onFail: ({ message }) => assert.fail(message),
    onOpen(connection) {
      connection.send(chunks.slice(0, 32));
      connection.giveBack(chunks.slice(0, 32));
      // By now the kernel is taking the first half; the second waits behind it.
      setImmediate(() => {
        connection.send(chunks.slice(32));
        connection.giveBack(chunks.slice(32));
      });
      return { onData: () => undefined, onDrain: () => undefined, onClose: () => undefined };
    },
  });
  await until("all has arrived", () => totalBytes(received) === expected.length);
  assert.ok(Buffer.concat(received).equals(expected));
  await until("all is freed", () => chunks.every((chunk) => chunk.length === 0));
});

function createSender(busy: boolean): Sender & { readonly releases: Release[] } {
  const releases: Release[] = [];
  return { releases, isBusy: () => busy, whenTaken: (release) => releases.push(release) };
}
