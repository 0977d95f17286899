import assert from "node:assert/strict";
import { test } from "node:test";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import { connectHost } from "../support/nbd-host.ts";

// Lags told in seconds, where the clocks of those who told disagree.

test("row 35, I33: after a failover to a site whose clock is behind, the lag in seconds is an upper bound", async (t) => {
  const ahead = encodeURIComponent("const real=Date.now;Date.now=()=>real()+600000");
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    modes: { west: "async", north: "async" },
    env: { east: { NODE_OPTIONS: `--import=data:text/javascript,${ahead}` } },
  });
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && north !== undefined);
  const one = await connectHost(east.nbd, "bank/data");
  for (let i = 0; i < 10; i += 1) {
    assert.equal(await one.write(i * 4096, Buffer.alloc(4096, 1)), 0);
    assert.equal(await one.flush(), 0);
  }
  one.close();
  await east.until("all there", ({ copies }) => copies.every(({ lagWrites }) => lagWrites === 0));
  await east.kill();
  const { code, stderr } = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(code, 0, stderr);
  await cluster.copyIs("west", "north", "streaming");
  const host = await connectHost(west.nbd, "bank/data");
  assert.equal(await host.write(0, Buffer.alloc(4096, 2)), 0);
  assert.equal(await host.flush(), 0);
  await west.until("north has it", ({ copies }) =>
    copies.some(({ site, lagWrites }) => site === "north" && lagWrites === 0),
  );
  await north.kill();
  assert.equal(await host.write(0, Buffer.alloc(4096, 3)), 0);
  host.close();
  const lag = async (): Promise<number> => (await west.copy("north")).lagSeconds;
  await west.until("the lag is seen in seconds", ({ copies }) =>
    copies.some(
      ({ site, lagWrites, lagSeconds }) => site === "north" && lagWrites > 0 && lagSeconds > 0,
    ),
  );
  const first = await lag();
  // The stamps of the new tenure count by now: what went before is not part of it.
  assert.ok(first < 300, `${first} s`);
  await west.until("it grows", ({ copies }) =>
    copies.some(({ site, lagSeconds }) => site === "north" && lagSeconds > first + 0.5),
  );
  count("row 35", { faultsInjected: 1, effectsSeen: 1 });
});
