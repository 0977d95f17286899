import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import type { Connection, ConnectionEvents, Transport } from "#ports/transport.ts";
import { encodeAck, encodeExportInfo, encodeGreeting } from "#wire/nbd/encode-handshake.ts";
import { command, magic, option, transmissionFlag } from "#wire/nbd/messages.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { createNbdLink } from "./nbd-link.ts";

// The link to an NBD server that a test plays, on a clock that a test moves.

const bytes = 1 << 20;
const flags =
  transmissionFlag.hasFlags | transmissionFlag.sendFlush | transmissionFlag.sendWriteZeroes;
const welcome = Buffer.concat([
  encodeGreeting(),
  encodeExportInfo(option.go, bytes, flags),
  encodeAck(option.go),
]);

function createRig() {
  const clock = createManualClock();
  const dials: { readonly events: ConnectionEvents; readonly sent: Uint8Array[] }[] = [];
  const words: string[] = [];
  const transport: Transport = {
    dial(_address, _timeoutMs, { onOpen }) {
      clock.soon(() => {
        const sent: Uint8Array[] = [];
        let isOver = false;
        const close = (why: string): void => {
          if (isOver) return;
          isOver = true;
          clock.soon(() => events.onClose(why));
        };
        const connection: Connection = {
          remote: "server",
          send: (chunks) => void sent.push(...chunks),
          queuedBytes: () => 0,
          pause: () => {},
          resume: () => {},
          take: (count) => new Uint8Array(count),
          giveBack: () => {},
          end: close,
          close,
        };
        const events = onOpen(connection);
        dials.push({ events, sent });
      });
    },
  };
  const link = createNbdLink(
    {
      address: "nbd://server/disk",
      dial: "server:1",
      name: "disk",
      bytes,
      trustDevice: false,
      transport,
      clock,
    },
    {
      onUp: () => words.push("up"),
      onDown: (why) => words.push(`down: ${why}`),
    },
  );
  clock.advance(0);
  const say = (data: Uint8Array): void => dials.at(-1)?.events.onData(data);
  /** Answers every request of the last connection that was not answered, without an error. */
  const answered = new WeakMap<object, number>();
  const answer = (): void => {
    const dial = dials.at(-1);
    if (dial === undefined) return;
    const requests = dial.sent.filter(isRequest);
    for (const request of requests.slice(answered.get(dial) ?? 0)) say(replyTo(request));
    answered.set(dial, requests.length);
  };
  return { clock, link, dials, words, say, answer };
}

function isRequest(chunk: Uint8Array): boolean {
  return chunk.length === 28 && Buffer.from(chunk).readUInt32BE(0) === magic.request;
}

function replyTo(request: Uint8Array): Uint8Array {
  const asked = Buffer.from(request);
  const isRead = asked.readUInt16BE(6) === command.read;
  const reply = Buffer.alloc(16 + (isRead ? asked.readUInt32BE(24) : 0));
  reply.writeUInt32BE(magic.simpleReply, 0);
  asked.copy(reply, 8, 8, 16);
  return reply;
}

test("row 23, A13: a server that answers nothing any more is given up, what it was asked fails, and it is dialled again", () => {
  const { clock, link, dials, words, say } = createRig();
  say(welcome);
  const outcomes: (string | undefined)[] = [];
  link.write(0, [new Uint8Array(512)], 0, (_, failure) => outcomes.push(failure?.code));
  clock.advance(limits.deviceSilenceMsMax + limits.deviceProbeMs + 1);
  assert.deepEqual(outcomes, ["ENOTCONN"]);
  assert.deepEqual(words, ["up", "down: it has not answered for 10 s"]);
  assert.equal(link.isUp(), false);
  clock.advance(limits.deviceRedialMsMax);
  assert.equal(dials.length, 2);
  say(welcome);
  assert.equal(words.at(-1), "up");
  link.close();
});

test("row 22: whoever asks again while the link is being lost is told that it is", () => {
  const { clock, link, dials, say } = createRig();
  say(welcome);
  const outcomes: (string | undefined)[] = [];
  link.write(0, [new Uint8Array(512)], 0, () => {
    link.read(0, 512, 0, (_, failure) => outcomes.push(failure?.code));
  });
  dials[0]?.events.onClose("cut");
  clock.advance(1);
  assert.deepEqual(outcomes, ["ENOTCONN"]);
  link.close();
});

test("A13, U15: an idle server is asked, and nothing is told while it answers", () => {
  const { clock, link, dials, words, say, answer } = createRig();
  say(welcome);
  for (let i = 0; i < 30; i += 1) {
    clock.advance(limits.deviceProbeMs);
    answer();
  }
  assert.ok((dials[0]?.sent.filter(isRequest).length ?? 0) >= 15, "it was asked");
  assert.deepEqual(words, ["up"]);
  // Then it falls silent, with nobody asking anything of it.
  clock.advance(limits.deviceSilenceMsMax + 2 * limits.deviceProbeMs + 1);
  assert.equal(words.length, 2);
  assert.match(words[1] ?? "", /has not answered/);
  link.close();
});

test("a server that never speaks, or speaks nonsense, is dialled again less and less often, and for ever", () => {
  const { clock, link, dials, words, say } = createRig();
  const nonsense = new Uint8Array(64).fill(7);
  for (let i = 0; i < 12; i += 1) {
    say(nonsense);
    clock.advance(limits.deviceRedialMsMax);
  }
  assert.ok(dials.length >= 12);
  assert.ok(words.every((word) => word.includes("does not speak NBD")));
  clock.advance(limits.deviceSilenceMsMax + limits.deviceProbeMs + limits.deviceRedialMsMax);
  assert.match(words.at(-1) ?? "", /has not answered/);
  link.close();
  const { length } = dials;
  clock.advance(60_000);
  assert.equal(dials.length, length, "closed is closed");
  assert.equal(clock.timers(), 0);
});

test("long requests are made in pieces, and answered once, when all of them are", () => {
  const { clock, link, dials, say, answer } = createRig();
  say(welcome);
  const outcomes: string[] = [];
  link.read(0, bytes, 0, (_, failure, read) =>
    outcomes.push(failure?.code ?? `${read.length} bytes`),
  );
  link.flush((failure) => outcomes.push(failure?.code ?? "flushed"));
  clock.advance(0);
  assert.deepEqual(outcomes, []);
  answer();
  assert.deepEqual(outcomes, [`${bytes} bytes`, "flushed"]);
  assert.equal(dials[0]?.sent.filter(isRequest).length, bytes / limits.devicePieceBytesMax + 1);
  link.close();
});
