import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { createNbdClient, encodeCommand, nextMessage, pushChunk } from "./client.ts";
import type { NbdClient, NbdClientMessage } from "./client.ts";
import { createHandshakeDecoder, nextHandshake, pushHandshake } from "./decode-handshake.ts";
import { encodeAck, encodeBlockSizeInfo, encodeExportInfo } from "./encode-handshake.ts";
import { encodeGreeting, encodeNameInfo, encodeOptionError } from "./encode-handshake.ts";
import { command, commandFlag, magic, option, optionReply, transmissionFlag } from "./messages.ts";

const flags =
  transmissionFlag.hasFlags | transmissionFlag.sendFlush | transmissionFlag.sendWriteZeroes;
const bytes = 5 * 2 ** 40 + 512;

/** What a server says that gives the export. */
function welcome(): Uint8Array {
  return Buffer.concat([
    encodeGreeting(),
    encodeNameInfo(option.go, "disk"),
    encodeExportInfo(option.go, bytes, flags),
    encodeBlockSizeInfo(option.go, { minimum: 1, preferred: 4096, payloadMax: 65_536 }),
    encodeAck(option.go),
  ]);
}

function reply(cookie: number, error: number, payload: Uint8Array): Uint8Array {
  const head = Buffer.alloc(16);
  head.writeUInt32BE(magic.simpleReply, 0);
  head.writeUInt32BE(error, 4);
  head.writeBigUInt64BE(BigInt(cookie), 8);
  return Buffer.concat([head, payload]);
}

/** Everything that the client makes of these chunks; payloads joined, since their pieces are those of the chunks. */
function messagesOf(client: NbdClient, chunks: readonly Uint8Array[]): NbdClientMessage[] {
  const messages: NbdClientMessage[] = [];
  for (const chunk of chunks) {
    pushChunk(client, chunk);
    for (let next = nextMessage(client); next !== undefined; next = nextMessage(client))
      messages.push(
        next.kind === "reply" ? { ...next, payload: [Buffer.concat(next.payload)] } : next,
      );
  }
  return messages;
}

function ready(): NbdClient {
  const client = createNbdClient("disk");
  messagesOf(client, [welcome()]);
  assert.equal(client.phase, "ready");
  return client;
}

function cutAt(whole: Uint8Array, places: readonly number[]): Uint8Array[] {
  const cuts = [...new Set(places.map((place) => place % whole.length))].toSorted((a, b) => a - b);
  return [...cuts, whole.length].map((end, i) => whole.subarray(i === 0 ? 0 : cuts[i - 1], end));
}

test("a server's decoder understands what the client asks for", () => {
  const client = createNbdClient("disk ü");
  const [sent] = messagesOf(client, [encodeGreeting()]);
  assert.equal(sent?.kind, "send");
  const decoder = createHandshakeDecoder();
  pushHandshake(decoder, sent?.kind === "send" ? sent.bytes : new Uint8Array(0));
  assert.deepEqual(nextHandshake(decoder), { kind: "clientFlags", flags: 3 });
  const go = { kind: "export", enter: true, name: "disk ü", infos: [3] };
  assert.deepEqual(nextHandshake(decoder), go);
});

test("the export is known however the words of the server are cut", () => {
  const found = {
    bytes,
    canFlush: true,
    canZero: true,
    isReadOnly: false,
    blockBytes: 1,
    payloadBytesMax: 65_536,
  };
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { maxLength: 8 }), (places) => {
      const messages = messagesOf(createNbdClient("disk"), cutAt(welcome(), places));
      assert.deepEqual(messages.slice(1), [{ kind: "ready", found }]);
    }),
  );
});

test("each reply goes to its request, in any order and however it is cut", () => {
  const length = fc.integer({ min: 1, max: 200_000 });
  const asked = fc.array(fc.tuple(length, fc.boolean(), fc.boolean()), {
    minLength: 1,
    maxLength: 8,
  });
  const places = fc.array(fc.nat(1_000_000), { maxLength: 12 });
  fc.assert(
    fc.property(asked, places, fc.boolean(), (requests, cuts, isBackwards) => {
      const client = ready();
      const expected = requests.map(([readBytes, isRead, isGood]) => {
        const kind = isRead ? "read" : "write";
        const what = { kind, offset: 512, length: readBytes, mayPunch: false } as const;
        const { cookie } = encodeCommand(client, what);
        const payload = Buffer.alloc(isRead && isGood ? readBytes : 0, cookie);
        return { kind: "reply", cookie, error: isGood ? 0 : 5, payload: [payload] };
      });
      if (isBackwards) expected.reverse();
      const wire = expected.map(({ cookie, error, payload }) =>
        reply(cookie, error, payload[0] ?? Buffer.alloc(0)),
      );
      assert.deepEqual(messagesOf(client, cutAt(Buffer.concat(wire), cuts)), expected);
      assert.equal(client.asked.size, 0);
    }),
  );
});

test("what a server may not say ends the session, and nothing is understood behind it", () => {
  const long = new Uint8Array(limits.nbdOptionBytesMax + 1);
  const lies: readonly [string, (client: NbdClient) => Uint8Array][] = [
    ["unasked", () => reply(77, 0, new Uint8Array(0))],
    ["answered twice", (client) => twice(encodeCommand(client, aFlush).cookie)],
    ["no magic", () => new Uint8Array(16)],
  ];
  for (const [what, lie] of lies) {
    const client = ready();
    const messages = messagesOf(client, [lie(client), reply(1, 0, new Uint8Array(0))]);
    assert.equal(messages.at(-1)?.kind, "malformed", what);
  }
  const early: readonly [string, Uint8Array][] = [
    ["oldstyle", Buffer.concat([encodeGreeting().subarray(0, 8), new Uint8Array(10)])],
    ["no fixed newstyle", Buffer.concat([encodeGreeting().subarray(0, 16), new Uint8Array(2)])],
    ["agreed without a size", Buffer.concat([encodeGreeting(), encodeAck(option.go)])],
    ["another option", Buffer.concat([encodeGreeting(), encodeAck(option.list)])],
    [
      "too long",
      Buffer.concat([
        encodeGreeting(),
        encodeOptionError(option.go, optionReply.errInvalid, text(long)),
      ]),
    ],
    [
      "too large to count",
      Buffer.concat([encodeGreeting(), encodeExportInfo(option.go, 2 ** 60, flags)]),
    ],
    [
      "no blocks",
      Buffer.concat([
        encodeGreeting(),
        encodeBlockSizeInfo(option.go, { minimum: 0, preferred: 0, payloadMax: 0 }),
      ]),
    ],
  ];
  for (const [what, said] of early)
    assert.equal(messagesOf(createNbdClient("disk"), [said]).at(-1)?.kind, "malformed", what);
});

test("a refusal comes in the server's own words, in one line", () => {
  const said = encodeOptionError(option.go, optionReply.errUnknown, "no\nsuch disk\u0007");
  const [, refused] = messagesOf(createNbdClient("disk"), [
    Buffer.concat([encodeGreeting(), said]),
  ]);
  assert.deepEqual(refused, { kind: "refused", why: "it has no such export: no such disk" });
});

test("row 56: whatever bytes come, the client ends or waits, and holds no more than an option", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 400 })), fc.boolean(), (chunks, isGreeted) => {
      const client = isGreeted ? ready() : createNbdClient("disk");
      const before = isGreeted ? [] : [encodeGreeting()];
      const messages = messagesOf(client, [...before, ...chunks]);
      const ends = messages.filter(({ kind }) => kind === "malformed" || kind === "refused");
      assert.ok(ends.length <= 1);
      if (client.phase !== "over") assert.ok(client.buffer.length <= limits.nbdOptionBytesMax + 20);
    }),
  );
});

test("requests are laid out as the protocol says", () => {
  const client = ready();
  const { cookie, bytes: sent } = encodeCommand(client, {
    kind: "zero",
    offset: 2 ** 33 + 5,
    length: 4096,
    mayPunch: false,
  });
  const view = Buffer.from(sent);
  assert.equal(view.readUInt32BE(0), magic.request);
  assert.equal(view.readUInt16BE(4), commandFlag.noHole);
  assert.equal(view.readUInt16BE(6), command.writeZeroes);
  assert.equal(view.readBigUInt64BE(8), BigInt(cookie));
  assert.equal(view.readBigUInt64BE(16), BigInt(2 ** 33 + 5));
  assert.equal(view.readUInt32BE(24), 4096);
});

const aFlush = { kind: "flush", offset: 0, length: 0, mayPunch: false } as const;

function twice(cookie: number): Uint8Array {
  const once = reply(cookie, 0, new Uint8Array(0));
  return Buffer.concat([once, once]);
}

function text(of: Uint8Array): string {
  return Buffer.from(of).toString("latin1");
}
