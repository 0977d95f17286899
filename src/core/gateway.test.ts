import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { createGateway, isDrained, neededFrom, stepGateway } from "./gateway.ts";
import type { DeviceWrite, Gateway, GatewayEffect, GatewayEvent } from "./gateway.ts";

// The machine of one device with a device that forgets: whatever was not flushed may be lost with the link, any part of it.

const bytes = 16;

/** A record of the journal; one of another volume, and a SEAL, which has the LSN of the write before it, have no length. */
type Logged = { readonly lsn: number; readonly offset: number; readonly length: number };

/** A journal, a device and the machine between them. Of a byte, its content is the LSN of its newest write. */
class World {
  readonly gateway: Gateway = createGateway({ volume: "data", address: "nbd://x/y", nowMs: 0 });
  readonly log: Logged[] = [];
  /** The oldest record that the journal still has. */
  logFrom = 0;
  nowMs = 0;
  isUp = false;
  /** What was flushed, and what reads find. */
  flushed: number[] = Array.from({ length: bytes }, () => 0);
  content: number[] = Array.from({ length: bytes }, () => 0);
  readonly acked: number[] = Array.from({ length: bytes }, () => 0);
  /** Not answered yet, in any order. */
  pending: GatewayEffect[] = [];
  readonly links: string[] = [];

  do(event: GatewayEvent): void {
    const out: GatewayEffect[] = [];
    stepGateway(this.gateway, event, out);
    for (const effect of out) this.perform(effect);
    // Nobody else holds the journal: what the device has goes at once.
    if (isDrained(this.gateway)) this.letGo(this.log.length);
  }

  perform(effect: GatewayEffect): void {
    switch (effect.kind) {
      case "write":
      case "flush":
        // Asked behind a `drop`, it has no connection any more to go by.
        if (effect.session === this.gateway.session) this.pending.push(effect);
        return;
      case "readRecords":
        this.pending.push(effect);
        return;
      case "synced":
        // The journal lets go at once: nothing may be asked for that lies before.
        this.letGo(this.log.filter(({ lsn }) => lsn <= effect.lsn).length);
        for (const [byte, lsn] of this.acked.entries())
          assert.ok(lsn > effect.lsn || this.flushed[byte] === lsn, "I22: it is flushed");
        return;
      case "event":
        this.links.push(`${effect.event.to}`);
        return;
      case "drop":
        this.lose(() => false);
        return;
      case "readParts": {
        const found = effect.parts.flatMap(({ offset, length, piece }) =>
          Array.from({ length }, (_, i) => piece?.lsn ?? this.content[offset + i]),
        );
        const { offset, length } = effect.read;
        assert.deepEqual(found, this.acked.slice(offset, offset + length), "I32: the newest");
        effect.read.done(undefined, new Uint8Array(0));
        return;
      }
      case "failRead":
        effect.read.done({ code: "EIO", message: effect.why }, new Uint8Array(0));
        return;
      case "ended":
        return;
    }
  }

  /** By LSN nobody needs them; but what the gateway may read back is kept. */
  letGo(records: number): void {
    this.logFrom = Math.max(this.logFrom, Math.min(records, neededFrom(this.gateway) - 1));
  }

  lastLsn(): number {
    return this.log.at(-1)?.lsn ?? 0;
  }

  /** A write to another volume. */
  writeElsewhere(): void {
    this.log.push({ lsn: this.lastLsn() + 1, offset: 0, length: 0 });
    this.do({ kind: "tick", nowMs: this.nowMs });
  }

  /** The end of a set, in a record of its own. */
  seal(): void {
    this.log.push({ lsn: this.lastLsn(), offset: 0, length: 0 });
    this.do({ kind: "tick", nowMs: this.nowMs });
  }

  write(offset: number, length: number): void {
    const lsn = this.lastLsn() + 1;
    this.log.push({ lsn, offset, length });
    for (let i = 0; i < length; i += 1) this.acked[offset + i] = lsn;
    const number = this.log.length;
    const place = { number, segment: 1, byte: number };
    this.do({ kind: "journaled", place, writes: [{ lsn, offset, length, at: 0 }] });
  }

  /** Answers something that is under way. */
  answer(which: number, fails: boolean): void {
    const [effect] = this.pending.splice(which % Math.max(1, this.pending.length), 1);
    if (effect?.kind === "readRecords") {
      const { session, from } = effect;
      if (session === this.gateway.session)
        assert.ok(from.number > this.logFrom, "decision 17: what is asked for is in the journal");
      const records = this.log.slice(from.number - 1, from.number + 2).map((one, i) => ({
        writes: one.length === 0 ? [] : [{ ...one, bytes: undefined, mayPunch: false }],
        next: { number: from.number + i + 1, segment: 1, byte: from.number + i + 1 },
      }));
      this.do({ kind: "recordsRead", session, records });
    } else if (effect?.kind === "write") {
      if (!fails) this.apply(effect.write);
      const failure = fails ? "made to fail" : undefined;
      this.do({ kind: "written", session: effect.session, write: effect.write, failure });
    } else if (effect?.kind === "flush") {
      if (!fails) this.flushed = [...this.content];
      this.do({ kind: "flushed", session: effect.session, failure: fails ? "no" : undefined });
    }
  }

  apply({ lsn, offset, length }: DeviceWrite): void {
    for (let i = 0; i < length; i += 1) this.content[offset + i] = lsn;
  }

  /** Of what was not flushed, and of what was under way, the device keeps what it likes. */
  lose(keeps: (byte: number) => boolean): void {
    if (!this.isUp) return;
    this.isUp = false;
    for (const effect of this.pending)
      if (effect.kind === "write" && keeps(effect.write.lsn)) this.apply(effect.write);
    // The journal still answers what it was asked.
    this.pending = this.pending.filter(({ kind }) => kind === "readRecords");
    this.content = this.content.map((lsn, byte) => (keeps(byte) ? lsn : (this.flushed[byte] ?? 0)));
    this.do({ kind: "down", why: "lost", isRefused: false });
  }

  raise(): void {
    if (this.isUp) return;
    this.isUp = true;
    this.do({ kind: "up" });
  }

  tick(afterMs: number): void {
    this.nowMs += afterMs;
    this.do({ kind: "tick", nowMs: this.nowMs });
  }

  read(offset: number, length: number): { failures: string[] } {
    const seen: { failures: string[] } = { failures: [] };
    this.do({
      kind: "read",
      read: {
        offset,
        length,
        untilMs: this.nowMs + limits.deviceTimeoutMs,
        done: (failure) => seen.failures.push(failure?.code ?? "ok"),
      },
    });
    return seen;
  }
}

const range = fc.tuple(fc.nat(bytes - 4), fc.integer({ min: 1, max: 4 }));
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: range.map(
      ([a, b]) =>
        (world: World) =>
          world.write(a, b),
    ),
  },
  {
    weight: 8,
    arbitrary: fc.nat(20).map((which) => (world: World) => world.answer(which, false)),
  },
  { weight: 2, arbitrary: fc.constant((world: World) => world.writeElsewhere()) },
  { weight: 2, arbitrary: fc.constant((world: World) => world.seal()) },
  { weight: 1, arbitrary: fc.nat(20).map((which) => (world: World) => world.answer(which, true)) },
  { weight: 2, arbitrary: fc.constant((world: World) => world.tick(limits.deviceFlushMs)) },
  { weight: 3, arbitrary: fc.constant((world: World) => world.raise()) },
  {
    weight: 1,
    arbitrary: fc.nat(3).map((mask) => (world: World) => world.lose((n) => n % 4 > mask)),
  },
  {
    weight: 3,
    arbitrary: range.map(
      ([a, b]) =>
        (world: World) =>
          void world.read(a, b),
    ),
  },
);

test("decision 17, I22, I32: a device that forgets gets all that was acked, and reads never find anything older", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 40, maxLength: 200, size: "max" }), (steps) => {
      const world = new World();
      for (const one of steps) one(world);
      // Then all goes well.
      for (let i = 0; !isDrained(world.gateway) || i === 0; i += 1) {
        assert.ok(i < 2000, "the device gets everything in the end");
        world.raise();
        world.answer(0, false);
        if (world.pending.length === 0) world.tick(limits.deviceFlushMs);
      }
      assert.deepEqual(world.flushed, world.acked);
      assert.equal(world.gateway.overlay.pieces, 0);
    }),
    { numRuns: 600 },
  );
});

test("A16: a read that needs the device waits for it, and no longer than deviceTimeoutMs", () => {
  const world = new World();
  world.raise();
  world.lose(() => false);
  const patient = world.read(0, 4);
  world.tick(limits.deviceTimeoutMs - 1);
  assert.deepEqual(patient.failures, []);
  const later = world.read(0, 4);
  world.tick(1);
  assert.deepEqual(patient.failures, ["EIO"]);
  world.raise();
  assert.deepEqual(later.failures, ["ok"]);
  world.lose(() => false);
  world.write(0, 4);
  assert.deepEqual(world.read(0, 4).failures, ["ok"], "U9: the journal answers at once");
});

test("A12, A15: a link is told of when it is lost and when it is back, and not at every try", () => {
  const world = new World();
  world.raise();
  world.lose(() => false);
  world.do({ kind: "down", why: "refused", isRefused: false });
  world.raise();
  assert.deepEqual(world.links, ["device-down", "up"]);
});

test("overlapping writes are never under way together", () => {
  fc.assert(
    fc.property(fc.array(range, { minLength: 2, maxLength: 20 }), (ranges) => {
      const world = new World();
      world.raise();
      for (const [offset, length] of ranges) world.write(offset, length);
      for (let i = 0; i < 200; i += 1) {
        const all = [...world.gateway.underWay];
        for (const a of all)
          for (const b of all)
            assert.ok(
              a === b || a.offset + a.length <= b.offset || b.offset + b.length <= a.offset,
            );
        world.answer(i, false);
      }
    }),
  );
});

test("an end waits for what is under way at the device, and a loss ends that", () => {
  const world = new World();
  world.raise();
  world.write(0, 4);
  world.answer(0, false);
  world.do({ kind: "end" });
  assert.equal(world.gateway.isOver, false);
  world.answer(0, false);
  assert.equal(world.gateway.isOver, true);
});
