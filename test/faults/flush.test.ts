import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { stampedBlock } from "../support/acked-writer.ts";
import { startCluster, type TestCluster } from "../support/cluster.ts";
import { connectHost, type NbdHost } from "../support/nbd-host.ts";
import { missing } from "../support/needs.ts";
import { attachStrace } from "../support/strace.ts";

// What must have happened on both disks before a host is answered, read from the system calls of both sites: one strace
// watches both, so its log has one order.

const needs = { skip: missing("strace") };
const traced = [
  "-yy",
  "-xx",
  "-s",
  "256",
  "-e",
  "trace=fdatasync,fsync,read,recvmsg,recvfrom,write,writev,sendmsg,sendto,pwrite64,pwritev,pwritev2",
];

test("F1, I2: FLUSH is answered after both images were synced, behind the request", needs, async (t) => {
  const cluster = await startCluster(t);
  const host = await connectHost(cluster.site("east").nbd, "bank/data");
  assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
  const between = await traceRequest(t, cluster, host, (cookieHost) => cookieHost.flush());
  for (const site of ["east", "west"]) {
    const image = cluster.site(site).image();
    assert.ok(completes(between, "fdatasync", image), `no fdatasync at ${site}:\n${between.join("\n")}`);
  }
  host.close();
});

test("F1, I1: at durability flush a write is answered after both images took it", needs, async (t) => {
  const cluster = await startCluster(t);
  const host = await connectHost(cluster.site("east").nbd, "bank/data");
  const between = await traceRequest(t, cluster, host, (one) => one.write(0, stampedBlock(0, 1)));
  for (const site of ["east", "west"]) {
    const image = cluster.site(site).image();
    assert.ok(completes(between, "pwrite", image), `no write at ${site}:\n${between.join("\n")}`);
  }
  host.close();
});

for (const [name, lines, fua] of [
  ["at durability write every write", ["durability: write"], false],
  ["a write with FUA", [], true],
] as const) {
  test(`F1, I2: ${name} is answered after both images took it and were synced`, needs, async (t) => {
    const cluster = await startCluster(t, { groupLines: lines });
    const host = await connectHost(cluster.site("east").nbd, "bank/data");
    const between = await traceRequest(t, cluster, host, (one) => one.write(0, stampedBlock(0, 1), { fua }));
    for (const site of ["east", "west"]) {
      const image = cluster.site(site).image();
      const written = between.findIndex((line) => completes([line], "pwrite", image));
      assert.ok(written !== -1, `no write at ${site}:\n${between.join("\n")}`);
      assert.ok(completes(between.slice(written), "fdatasync", image), `no sync at ${site}`);
    }
    host.close();
  });
}

/** The calls of both sites from the one that read the request to the one that wrote its reply, both without. */
async function traceRequest(
  t: TestContext,
  cluster: TestCluster,
  host: NbdHost,
  ask: (host: NbdHost) => Promise<number>,
): Promise<readonly string[]> {
  const pids = ["east", "west"].map((site) => cluster.site(site).pid());
  const strace = await attachStrace(t, cluster.folder, pids, traced);
  // The cookie rides in the request and in its reply, and nowhere else. All bytes are shown in hexadecimal.
  const cookie = Buffer.alloc(8);
  cookie.writeBigUInt64BE(host.nextCookie());
  const shown = [...cookie].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  assert.equal(await ask(host), 0);
  await strace.detach();
  const lines = strace.lines();
  const request = lines.findIndex((line) => isRequest(line, shown));
  const reply = lines.findIndex((line) => isReply(line, shown));
  assert.ok(request !== -1 && reply > request, `request ${request}, reply ${reply}\n${lines.join("\n")}`);
  return lines.slice(request + 1, reply);
}

/** NBD's magic of a request, then two fields of two bytes, then the cookie (NBD protocol, "Request message"). */
function isRequest(line: string, cookie: string): boolean {
  const [, rest = ""] = line.split("\\x25\\x60\\x95\\x13");
  return rest.slice(4 * 4).startsWith(cookie);
}

/** A simple reply without error ("Simple reply message"). */
function isReply(line: string, cookie: string): boolean {
  return line.includes(`\\x67\\x44\\x66\\x98\\x00\\x00\\x00\\x00${cookie}`);
}

/**
 * Whether a call on the file begins and ends within the lines. strace shows a call that others overtake as two lines, of
 * which only the first names the file.
 */
function completes(lines: readonly string[], call: string, path: string): boolean {
  const begun = new Set<string>();
  for (const line of lines) {
    const [thread = ""] = line.split(" ");
    const resumed = line.includes("resumed>");
    if (!resumed && line.includes(call) && line.includes(path)) {
      if (!line.includes("<unfinished")) return / = \d+$/.test(line.trimEnd());
      begun.add(thread);
    }
    if (resumed && begun.delete(thread) && / = \d+/.test(line)) return true;
  }
  return false;
}
