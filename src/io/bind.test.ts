import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AppError } from "#base/errors.ts";
import { bind } from "./bind.ts";

test("bind: port 0 becomes the port that the system chose", async (t) => {
  const server = serverFor(t);
  const address = await bind(server, { kind: "tcp", host: "127.0.0.1", port: 0 });
  assert.ok(address.kind === "tcp" && address.port > 0);
});

test("bind: the folder of a unix socket is made", async (t) => {
  const path = join(folderFor(t), "a", "b", "nbd.sock");
  await bind(serverFor(t), { kind: "unix", path });
  assert.ok(statSync(path).isSocket());
});

test("bind: the socket of a dead process is replaced", async (t) => {
  const path = join(folderFor(t), "nbd.sock");
  // Only a process that is killed leaves its socket behind.
  const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
  spawnSync(process.execPath, ["-e", script]);
  assert.ok(statSync(path).isSocket());
  await bind(serverFor(t), { kind: "unix", path });
});

test("bind: a socket on which somebody listens is left alone, and so is a file", async (t) => {
  const folder = folderFor(t);
  const path = join(folder, "nbd.sock");
  await bind(serverFor(t), { kind: "unix", path });
  await assert.rejects(bind(serverFor(t), { kind: "unix", path }), /somebody already listens/);
  const file = join(folder, "precious");
  writeFileSync(file, "x");
  await assert.rejects(bind(serverFor(t), { kind: "unix", path: file }), /is not a socket/);
});

test("bind: an address in use is named with a hint", async (t) => {
  const address = await bind(serverFor(t), { kind: "tcp", host: "127.0.0.1", port: 0 });
  await assert.rejects(bind(serverFor(t), address), (error) => {
    assert.ok(error instanceof AppError && error.hint !== undefined);
    return error.message.startsWith("cannot listen on 127.0.0.1:");
  });
});

function serverFor(t: TestContext): Server {
  const server = createServer();
  t.after(() => server.close());
  return server;
}

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "bind-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}
