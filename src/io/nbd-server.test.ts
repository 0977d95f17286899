import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AppError } from "#base/errors.ts";
import type { Exports } from "#ports/exports.ts";
import type { HostVolume } from "#ports/host-request.ts";
import { type NbdServerOptions, startNbdServer } from "./nbd-server.ts";

const enter = Buffer.concat([
  Buffer.from([0, 0, 0, 3]),
  Buffer.from("IHAVEOPT"),
  Buffer.from([0, 0, 0, 1, 0, 0, 0, 3]),
  Buffer.from("g/v"),
]);

test("NBD server: when one address cannot be had, it listens on none", async (t) => {
  const first = `unix:${join(folderFor(t), "first.sock")}`;
  const taken = await startNbdServer(options({ addresses: ["127.0.0.1:0"] }));
  t.after(() => taken.close());
  const [address = ""] = taken.addresses;
  await assert.rejects(startNbdServer(options({ addresses: [first, address] })), /cannot listen/);
  const again = await startNbdServer(options({ addresses: [first] }));
  await again.close();
});

test("NBD server: what is no address is said to be none", async () => {
  for (const address of ["", "10809", "localhost", "unix:", "::1:10809"]) {
    await assert.rejects(startNbdServer(options({ addresses: [address] })), (error) => {
      assert.ok(error instanceof AppError);
      return error.code === "config" && error.hint !== undefined;
    });
  }
});

test("NBD server: close ends idle connections in every phase and takes its socket away", async (t) => {
  const path = join(folderFor(t), "nbd.sock");
  const server = await startNbdServer(options({ addresses: [`unix:${path}`] }));
  const haggling = connect({ path });
  const entered = connect({ path });
  entered.write(enter);
  await Promise.all([received(haggling, 18), received(entered, 28)]);
  const ended = [haggling, entered].map(hungUp);
  await Promise.all([server.close(), server.close(), ...ended]);
  assert.equal(existsSync(path), false);
  assert.equal(server.counters().connections, 0);
});

test("row 56: idlers make room for newcomers, hosts at work do not", async (t) => {
  const path = join(folderFor(t), "nbd.sock");
  const server = await startNbdServer(options({ addresses: [`unix:${path}`], connectionsMax: 2 }));
  t.after(() => server.close());
  const idler = connect({ path });
  await received(idler, 18);
  const hosts = [connect({ path }), connect({ path })];
  const idlerGone = hungUp(idler);
  for (const host of hosts) {
    host.write(enter);
    await received(host, 28);
  }
  await idlerGone;
  const late = connect({ path });
  await hungUp(late);
  assert.equal(server.counters().connectionsRefused, 1);
  assert.equal(server.counters().connections, 2);
  for (const host of hosts) host.destroy();
});

const volume: HostVolume = {
  group: "g",
  name: "v",
  index: 0,
  bytes: 4096,
  writeBytesMax: 4096,
  submit: () => undefined,
  extents: () => undefined,
};

const exports: Exports = {
  list: () => [{ name: "g/v", bytes: volume.bytes, served: true }],
  find: (name) => (name === "g/v" ? { kind: "served", volume } : { kind: "unknown" }),
  onDrop: () => undefined,
};

function options(some: Pick<NbdServerOptions, "addresses" | "connectionsMax">): NbdServerOptions {
  return { ...some, exports, onError: () => undefined };
}

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "nbd-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function received(client: Socket, count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let seen = 0;
  client.on("data", (chunk) => {
    seen += chunk.length;
    if (seen >= count) resolve();
  });
  return promise;
}

function hungUp(client: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  client.on("error", () => undefined);
  client.on("close", () => resolve());
  client.resume();
  return promise;
}
