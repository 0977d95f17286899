import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import fc from "fast-check";
import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice, Extent } from "#ports/block-device.ts";

/** One device that keeps its content for as long as the world stands, and what the suite needs around it. */
export type BlockDeviceWorld = {
  /** Opens the device, `DEVICE_BYTES` long, as a process that has just started would. At most one is open at a time. */
  open(): BlockDevice;
  /** Opens another one, of the same length, whose every sync fails. */
  openBroken(): BlockDevice;
  /** Lets time pass until the condition holds. */
  settle(condition: () => boolean): Promise<void>;
  end(): void;
};

const PAGE_BYTES = 4096;
const PAGES = 64;
export const DEVICE_BYTES = PAGES * PAGE_BYTES;

type Op =
  | { readonly kind: "write"; readonly offset: number; readonly chunks: readonly Uint8Array[] }
  | {
      readonly kind: "zero";
      readonly offset: number;
      readonly length: number;
      readonly mayPunch: boolean;
    };

/** What every `BlockDevice` must do, whoever implements it. `start` makes a world with an empty device. */
export function blockDeviceSuite(
  name: string,
  start: () => BlockDeviceWorld,
  options: { readonly skip?: string | false } = {},
): void {
  describe(`BlockDevice: ${name}`, options, () => {
    for (const [what, run] of Object.entries(cases)) {
      test(what, async (t: TestContext) => {
        const world = start();
        t.after(() => world.end());
        await run(world);
      });
    }
  });
}

const cases: Readonly<Record<string, (world: BlockDeviceWorld) => Promise<void>>> = {
  "a new device reads as zeros up to its very end": async (world) => {
    const device = world.open();
    assert.equal(device.bytes, DEVICE_BYTES);
    assert.deepEqual(await read(world, device, 0, DEVICE_BYTES), new Uint8Array(DEVICE_BYTES));
    assert.deepEqual(await read(world, device, DEVICE_BYTES, 0), new Uint8Array(0));
    device.close();
  },

  "every request calls back once, with its own context": async (world) => {
    const device = world.open();
    const calls: string[] = [];
    const note = (context: string, failure: IoFailure | undefined): void => {
      calls.push(`${context} ${failure?.code ?? "ok"}`);
    };
    device.write(0, [new Uint8Array(512)], "write", note);
    device.zero(512, 512, false, "zero", note);
    device.read(0, 1024, "read", note);
    await world.settle(() => calls.length >= 3);
    assert.deepEqual(calls.toSorted(), ["read ok", "write ok", "zero ok"]);
    device.close();
  },

  "overlapping writes and zeroes take effect in the order of the calls": async (world) => {
    const device = world.open();
    await fc.assert(
      fc.asyncProperty(fc.array(someOp, { minLength: 1, maxLength: 12 }), async (ops) => {
        const twin = await read(world, device, 0, DEVICE_BYTES);
        await apply(world, device, ops);
        for (const op of ops) applyToTwin(twin, op);
        assert.ok(Buffer.compare(await read(world, device, 0, DEVICE_BYTES), twin) === 0);
        await checkExtents(world, device, twin);
      }),
      { numRuns: 40 },
    );
    device.close();
  },

  "a read finds what was submitted before it, answered or not": async (world) => {
    const device = world.open();
    for (let round = 1; round <= 30; round += 1) {
      const bytes = new Uint8Array(4 * PAGE_BYTES).fill(round);
      const written = apply(world, device, [
        { kind: "write", offset: 0, chunks: [bytes] },
        { kind: "write", offset: 4 * PAGE_BYTES, chunks: [bytes.subarray(0, 100)] },
      ]);
      const found = await read(world, device, PAGE_BYTES, 3 * PAGE_BYTES + 100);
      assert.ok(found.every((byte) => byte === round));
      await written;
    }
    device.close();
  },

  "extents cover the range without gaps, from an odd byte to an odd byte": async (world) => {
    const device = world.open();
    await apply(world, device, [
      { kind: "write", offset: 9 * PAGE_BYTES, chunks: [new Uint8Array(PAGE_BYTES).fill(1)] },
    ]);
    const extents = await ask(world, device, 5001, 100_000);
    assertCover(extents, 5001, 100_000);
    const holding = must(
      extents.find(({ offset, length }) => offset + length > 9 * PAGE_BYTES),
      "an extent over the written page",
    );
    assert.equal(holding.hole, false);
    assert.deepEqual(await ask(world, device, 7, 0), []);
    device.close();
  },

  "what was written is there for the next process, synced or not": async (world) => {
    const device = world.open();
    const bytes = new Uint8Array(700).fill(9);
    await apply(world, device, [{ kind: "write", offset: DEVICE_BYTES - 700, chunks: [bytes] }]);
    device.close();
    const again = world.open();
    assert.deepEqual(await read(world, again, DEVICE_BYTES - 700, 700), bytes);
    again.close();
  },

  "every waiter of a sync is called, once, and then nothing is unsynced": async (world) => {
    const device = world.open();
    const calls = new Map<number, number>();
    for (let waiter = 0; waiter < 20; waiter++) {
      await apply(world, device, [{ kind: "write", offset: 0, chunks: [new Uint8Array(512)] }]);
      device.sync((failure) => {
        assert.equal(failure, undefined);
        calls.set(waiter, (calls.get(waiter) ?? 0) + 1);
      });
    }
    await world.settle(() => calls.size === 20);
    assert.deepEqual([...new Set(calls.values())], [1]);
    assert.equal(device.unsyncedBytes(), 0);
    await apply(world, device, [{ kind: "write", offset: 0, chunks: [new Uint8Array(512)] }]);
    assert.equal(device.unsyncedBytes(), 512);
    device.close();
  },

  "row 38: a failed sync is final: everything fails with EIO from then on": async (world) => {
    const device = world.openBroken();
    const results: (string | undefined)[] = [];
    device.sync((failure) => results.push(failure?.code));
    await world.settle(() => results.length === 1);
    assert.notEqual(results[0], undefined, "the first sync fails");
    assert.equal(device.failure()?.code, "EIO", "and says so to whoever asks later");
    const note = (_: undefined, failure: IoFailure | undefined): void => {
      results.push(failure?.code);
    };
    device.write(0, [new Uint8Array(512)], undefined, note);
    device.zero(0, 512, true, undefined, note);
    device.read(0, 512, undefined, note);
    device.sync((failure) => results.push(failure?.code));
    await world.settle(() => results.length === 5);
    assert.deepEqual(results.slice(1), ["EIO", "EIO", "EIO", "EIO"]);
    device.close();
  },
};

const someOffset = fc.oneof(
  fc.nat(PAGES - 8).map((page) => page * PAGE_BYTES),
  fc.nat(DEVICE_BYTES - 8 * PAGE_BYTES),
);

const someOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    kind: fc.constant("write" as const),
    offset: someOffset,
    chunks: fc.array(
      fc
        .tuple(fc.nat(2 * PAGE_BYTES), fc.nat(255))
        .map(([n, byte]) => new Uint8Array(n).fill(byte)),
      { maxLength: 4 },
    ),
  }),
  fc.record({
    kind: fc.constant("zero" as const),
    offset: someOffset,
    length: fc.oneof(
      fc.nat(8).map((pages) => pages * PAGE_BYTES),
      fc.nat(8 * PAGE_BYTES),
    ),
    mayPunch: fc.boolean(),
  }),
);

function applyToTwin(twin: Uint8Array, op: Op): void {
  if (op.kind === "zero") {
    twin.fill(0, op.offset, op.offset + op.length);
    return;
  }
  let at = op.offset;
  for (const chunk of op.chunks) {
    twin.set(chunk, at);
    at += chunk.length;
  }
}

/** Submits all at once, and waits for all. */
async function apply(world: BlockDeviceWorld, device: BlockDevice, ops: Op[]): Promise<void> {
  let left = ops.length;
  const note = (_: Op, failure: IoFailure | undefined): void => {
    assert.equal(failure, undefined);
    left--;
  };
  for (const op of ops) {
    if (op.kind === "write") device.write(op.offset, op.chunks, op, note);
    else device.zero(op.offset, op.length, op.mayPunch, op, note);
  }
  await world.settle(() => left === 0);
}

async function read(
  world: BlockDeviceWorld,
  device: BlockDevice,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  let result: Uint8Array | undefined;
  device.read(offset, length, undefined, (_, failure, bytes) => {
    assert.equal(failure, undefined);
    result = bytes;
  });
  await world.settle(() => result !== undefined);
  return Uint8Array.from(must(result, "read called back"));
}

async function ask(
  world: BlockDeviceWorld,
  device: BlockDevice,
  offset: number,
  length: number,
): Promise<readonly Extent[]> {
  let result: readonly Extent[] | undefined;
  device.extents(offset, length, (extents) => {
    result = extents;
  });
  await world.settle(() => result !== undefined);
  return must(result, "extents called back");
}

function assertCover(extents: readonly Extent[], offset: number, length: number): void {
  let at = offset;
  for (const extent of extents) {
    assert.equal(extent.offset, at);
    assert.ok(extent.length > 0);
    at += extent.length;
  }
  assert.equal(at, offset + length);
}

/** A hole may be missed, but what is called a hole must read as zeros. */
async function checkExtents(
  world: BlockDeviceWorld,
  device: BlockDevice,
  twin: Uint8Array,
): Promise<void> {
  const extents = await ask(world, device, 0, DEVICE_BYTES);
  assertCover(extents, 0, DEVICE_BYTES);
  for (const { offset, length, hole } of extents) {
    const isZero = twin.subarray(offset, offset + length).every((byte) => byte === 0);
    assert.ok(!hole || isZero, `the hole at ${offset}+${length} holds something`);
  }
}
