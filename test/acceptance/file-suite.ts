import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import fc from "fast-check";
import type { IoFailure } from "#base/errors.ts";
import { type File, type Folder, isFailure } from "#ports/file.ts";

/** One folder that holds its files for as long as the world stands, and what the suite needs around it. */
export type FileWorld = {
  /** Opens the folder, as a process that has just started would. */
  openFolder(): Folder;
  /** Lets time pass until the condition holds. */
  settle(condition: () => boolean): Promise<void>;
  /** Name of a file, not yet opened, whose every sync fails. */
  brokenName(): string;
  end(): void;
};

const OK = undefined;

/** What every `File` and `Folder` must do, whoever implements them. `start` makes a world with an empty folder. */
export function fileSuite(name: string, start: () => FileWorld): void {
  describe(`File and Folder: ${name}`, () => {
    for (const [what, run] of Object.entries(cases)) {
      test(what, async (t: TestContext) => {
        const world = start();
        t.after(() => world.end());
        await run(world);
      });
    }
  });
}

const cases: Readonly<Record<string, (world: FileWorld) => Promise<void>>> = {
  "an opened file is made empty, and reads as zeros beyond its end": async (world) => {
    const folder = world.openFolder();
    assert.equal(folder.exists("map"), false);
    const file = opened(folder, "map");
    assert.equal(file.bytes(), 0);
    assert.deepEqual(contents(file, 0, 16), new Uint8Array(16));
    assert.equal(folder.exists("map"), true);
    assert.deepEqual(folder.list(), ["map"]);
    file.close();
  },

  "row 40: room that is taken ahead changes nothing that is read, and what is written there is":
    async (world) => {
      const folder = world.openFolder();
      const file = opened(folder, "log");
      assert.equal(file.write(0, [Uint8Array.of(1, 2, 3)]), OK);
      for (const [offset, length] of [
        [0, 100_000],
        [100_000, 50_000],
      ] as const) {
        const answer = file.allocate(offset, length);
        assert.ok(answer === undefined || answer === "unsupported");
        assert.equal(file.bytes(), 3);
        assert.deepEqual(contents(file, 0, 5), Uint8Array.of(1, 2, 3, 0, 0));
      }
      assert.equal(file.write(120_000, [Uint8Array.of(4)]), OK);
      assert.equal(file.bytes(), 120_001);
      assert.deepEqual(contents(file, 119_999, 3), Uint8Array.of(0, 4, 0));
      file.close();
    },

  "chunks are written one behind the other, and a gap reads as zeros": async (world) => {
    const file = opened(world.openFolder(), "map");
    const chunks = [Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)];
    assert.equal(file.write(5, chunks), OK);
    assert.equal(file.bytes(), 8);
    assert.deepEqual(contents(file, 3, 7), Uint8Array.of(0, 0, 1, 2, 3, 0, 0));
    file.close();
  },

  "what is read later is what was written before, with zeros beyond the end, and never at once":
    async (world) => {
      const file = opened(world.openFolder(), "log");
      const whole = Uint8Array.from({ length: 1_500_000 }, (_, i) => (i * 31) >>> 3);
      assert.equal(file.write(0, [whole.subarray(0, 7), whole.subarray(7)]), OK);
      const answers: (readonly [number, Uint8Array, unknown])[] = [];
      for (const [offset, length] of [
        [0, whole.length],
        [1_000, 16],
        [whole.length - 5, 10],
        [whole.length + 5, 10],
        [3, 0],
      ] as const) {
        const into = new Uint8Array(length).fill(0xee);
        file.readLater(offset, into, (failure) => answers.push([offset, into, failure]));
      }
      assert.equal(answers.length, 0, "not before the call returns");
      await world.settle(() => answers.length === 5);
      for (const [offset, into, failure] of answers) {
        const expected = new Uint8Array(into.length);
        expected.set(whole.subarray(offset, offset + into.length));
        assert.equal(failure, OK);
        assert.ok(Buffer.from(into).equals(expected), `from byte ${offset}`);
      }
      file.close();
    },

  "a file equals its dumb twin after any writes": async (world) => {
    const folder = world.openFolder();
    let count = 0;
    fc.assert(
      fc.property(fc.array(someWrite, { maxLength: 12 }), (writes) => {
        const file = opened(folder, `twin-${count++}`);
        const twin = new Uint8Array(1200);
        let bytes = 0;
        for (const { offset, chunks } of writes) {
          assert.equal(file.write(offset, chunks), OK);
          const whole = Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
          twin.set(whole, offset);
          if (whole.length > 0) bytes = Math.max(bytes, offset + whole.length);
        }
        assert.equal(file.bytes(), bytes);
        assert.deepEqual(contents(file, 0, twin.length), twin);
        file.close();
      }),
      { numRuns: 50 },
    );
  },

  "what was written is there for the next process, synced or not": async (world) => {
    const file = opened(world.openFolder(), "record");
    assert.equal(file.write(0, [Uint8Array.of(7, 8, 9)]), OK);
    file.close();
    const again = opened(world.openFolder(), "record");
    assert.equal(again.bytes(), 3);
    assert.deepEqual(contents(again, 0, 3), Uint8Array.of(7, 8, 9));
    again.close();
  },

  "every waiter of a sync is called, once": async (world) => {
    const folder = world.openFolder();
    const file = opened(folder, "record");
    const calls = new Map<number, number>();
    const failures: unknown[] = [];
    for (let waiter = 0; waiter < 20; waiter++) {
      assert.equal(file.write(waiter, [Uint8Array.of(waiter)]), OK);
      const sync = waiter % 5 === 4 ? folder.sync : file.sync;
      sync((failure) => {
        calls.set(waiter, (calls.get(waiter) ?? 0) + 1);
        failures.push(failure);
      });
    }
    await world.settle(() => calls.size === 20);
    assert.deepEqual([...new Set(calls.values())], [1]);
    assert.deepEqual([...new Set(failures)], [OK]);
    file.close();
  },

  "a removed file is gone, and its name makes an empty one again": async (world) => {
    const folder = world.openFolder();
    const file = opened(folder, "old");
    assert.equal(file.write(0, [Uint8Array.of(1)]), OK);
    file.close();
    assert.equal(folder.remove("old"), OK);
    assert.equal(folder.exists("old"), false);
    assert.equal(folder.remove("old")?.code, "ENOENT");
    const again = opened(folder, "old");
    assert.equal(again.bytes(), 0);
    again.close();
  },

  "a renamed file is there by its new name with all that it holds, and what is open of it stays open":
    async (world) => {
      const folder = world.openFolder();
      const file = opened(folder, "before");
      assert.equal(file.write(0, [Uint8Array.of(1, 2)]), OK);
      assert.equal(folder.rename("before", "after"), OK);
      assert.deepEqual([folder.exists("before"), folder.exists("after")], [false, true]);
      assert.equal(file.write(2, [Uint8Array.of(3)]), OK);
      assert.equal(await synced(world, file), OK);
      file.close();
      const again = opened(folder, "after");
      assert.deepEqual(contents(again, 0, 3), Uint8Array.of(1, 2, 3));
      again.close();
      assert.equal(folder.rename("before", "later")?.code, "ENOENT");
    },

  "row 38: a failed sync is final: writes and syncs fail from then on": async (world) => {
    const name = world.brokenName();
    const file = opened(world.openFolder(), name);
    const first = await synced(world, file);
    assert.ok(first, "the first sync fails");
    assert.notEqual(first.message, "");
    assert.equal(file.write(0, [Uint8Array.of(1)])?.code, "EIO");
    const second = await synced(world, file);
    assert.equal(second?.code, "EIO", "the second sync is not believed");
    file.close();
  },
};

const someWrite = fc.record({
  offset: fc.nat(1000),
  chunks: fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 4 }),
});

function opened(folder: Folder, name: string): File {
  const file = folder.open(name);
  if (isFailure(file)) assert.fail(file.message);
  return file;
}

function contents(file: File, offset: number, length: number): Uint8Array {
  const into = new Uint8Array(length).fill(0xee);
  assert.equal(file.read(offset, into), OK);
  return into;
}

async function synced(world: FileWorld, file: File): Promise<IoFailure | undefined> {
  let isDone = false;
  let result: IoFailure | undefined;
  file.sync((failure) => {
    isDone = true;
    result = failure;
  });
  await world.settle(() => isDone);
  return result;
}
