import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { entriesOf, exports, startBunkerBank } from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { copyOf } from "../support/cluster.ts";
import { until } from "../support/until.ts";

// A bunker on real processes: what it keeps, and what its loss means under each policy.

test("B1, B3, B5: the bunker's log is the primary's, entry by entry, it stores no volume, and idle images are equal", async (t) => {
  const { cluster, east, west, vault } = await startBunkerBank(t);
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200, flushEvery: 30 });
  await writer.more(500);
  await writer.stop();
  await east.until("west has it all", (group) => {
    const copy = copyOf(group, "west");
    return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  const status = await vault.group();
  assert.equal(status.role, "bunker");
  assert.equal(status.copies[0]?.image, "none");
  assert.deepEqual(status.volumes, [], "of what it has not, it lists nothing");
  assert.equal(copyOf(await east.group(), "vault")?.image, "none");
  // The primary first: it goes on to seal as long as it runs, and the bunker takes what was sent before the end.
  await east.stop();
  const ours = await entriesOf(cluster, east);
  await until(
    "the bunker has taken the last of it",
    async () => (await entriesOf(cluster, vault)).length >= ours.length,
  );
  await Promise.all([vault.stop(), west.stop()]);
  const theirs = await entriesOf(cluster, vault);
  assert.ok(ours.length > 500 && ours.every(({ isChecksumOk }) => isChecksumOk));
  assert.deepEqual(theirs, ours);
  for (const volume of ["data", "log"]) {
    const [image, copy] = [east, west].map(({ data }) =>
      fs.readFileSync(join(data, "bank", `${volume}.img`)),
    );
    assert.ok(image !== undefined && copy !== undefined && image.equals(copy), volume);
  }
  const files = fs.readdirSync(join(vault.data, "bank"));
  assert.ok(
    files.every((name) => name === "group.record" || /^bunker-.*\.log/.test(name)),
    files.join(),
  );
});

test("B2, B14, B15, row 16: a write is acked once the bunker has it; without it, override says so on record first", async (t) => {
  const { cluster, east, vault, toVault } = await startBunkerBank(t);
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(100);
  await vault.kill();
  // Hosts go on, and whoever asks sees that something is lacking.
  await writer.more(100);
  const lost = await cluster.copyIs("east", "vault", "buffering");
  assert.ok(lost.lagWrites > 0, "what the bunker lacks is shown");
  const { record } = east.inspect();
  assert.ok(typeof record !== "string");
  assert.equal(record.members["vault"]?.alone, true, "on record before the first ack without it");
  await vault.start();
  await cluster.copyIs("east", "vault", "streaming");
  const [before] = (await vault.group()).copies;
  assert.ok((before?.received ?? 0) >= 200, "it has caught up");
  // From here on every ack is its word, too.
  await writer.more(50);
  // And does not come back: what it has, it had by then.
  toVault.isClosed = true;
  toVault.cut();
  const acked = writer.acked();
  await writer.more(50);
  const [held] = (await vault.group()).copies;
  assert.ok((held?.received ?? 0) >= acked, `${held?.received} of ${acked}`);
  await writer.stop();
  count("row 16", { faultsInjected: 2, effectsSeen: 2 });
});

test("B15, row 16: with onLoss fail nothing is acked that the bunker lacks", async (t) => {
  const { cluster, east, vault } = await startBunkerBank(t, "probe: 100ms, onLoss: fail");
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(100);
  await vault.kill();
  await assert.rejects(writer.ended(), /answered with error/);
  const acked = writer.acked();
  await vault.start();
  await cluster.copyIs("east", "vault", "streaming");
  const [held] = (await vault.group()).copies;
  assert.ok((held?.received ?? 0) >= acked, `${held?.received} of ${acked}`);
  const again = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await again.more(50);
  await again.stop();
  count("row 16", { faultsInjected: 1, effectsSeen: 1 });
});
