import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import type { Connection, ConnectionEvents } from "#ports/transport.ts";
import { createFrameDecoder, decodeJson, pushChunk } from "#wire/peer/decode.ts";
import { createHeaderPool, encodeJson } from "#wire/peer/encode.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { FrameType } from "#wire/peer/messages.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import type { ManualClock } from "../../test/support/manual-clock.ts";
import { createMemoryNetwork } from "../../test/support/memory-network.ts";
import type { MemoryNetwork } from "../../test/support/memory-network.ts";
import { acceptPeer, dialPeer, sendDocument } from "./peer-connection.ts";
import type { DialOutcome, Peer, PeerIdentity } from "./peer-connection.ts";

let drawn = 0;
const crypto: PeerIdentity["crypto"] = {
  randomBytes(count) {
    drawn += 1;
    return Uint8Array.from({ length: count }, (_, i) => (drawn * 17 + i) & 0xff);
  },
  hmacSha256: (key, message) => createHmac("sha256", key).update(message).digest(),
  hash64: () => assert.fail("a handshake hashes no regions"),
};

const secret = new Uint8Array(32).fill(7);

type World = {
  readonly network: MemoryNetwork;
  readonly clock: ManualClock;
  readonly outcomes: DialOutcome[];
  /** Peers that were let in, with what they asked for. */
  readonly opened: { readonly peer: Peer; readonly document: unknown }[];
};

type Sides = {
  readonly east?: Partial<PeerIdentity>;
  readonly west?: Partial<PeerIdentity>;
  /** Stands in for west. */
  readonly listener?: (connection: Connection) => ConnectionEvents;
};

function identityOf(site: string, clock: ManualClock, own: Partial<PeerIdentity>): PeerIdentity {
  return {
    cluster: "acme",
    site,
    knownSites: new Set(["east", "west", "vault"]),
    secret,
    bootId: "",
    crypto,
    clock,
    ...own,
  };
}

/** East dials west. */
function dial(sides: Sides = {}, pieceBytes?: number): World {
  const clock = createManualClock();
  const opened: World["opened"] = [];
  const west = identityOf("west", clock, sides.west ?? {});
  const accept = (connection: Connection): ConnectionEvents =>
    acceptPeer(west, connection, (peer, document) => opened.push({ peer, document }));
  const network = createMemoryNetwork(sides.listener ?? accept);
  const outcomes: DialOutcome[] = [];
  dialPeer(
    identityOf("east", clock, sides.east ?? {}),
    network.transport,
    { site: "west", address: "somewhere", document: { purpose: "inquiry" } },
    (outcome) => outcomes.push(outcome),
  );
  network.settle(pieceBytes);
  return { network, clock, outcomes, opened };
}

function onlyFailure(outcomes: readonly DialOutcome[]): string {
  assert.equal(outcomes.length, 1, "exactly one outcome");
  const outcome = outcomes[0];
  return outcome?.kind === "failed" ? outcome.why : assert.fail("the dial did not fail");
}

for (const [what, sides] of [
  ["with the cluster's secret", {}],
  ["without any secret", { east: { secret: undefined }, west: { secret: undefined } }],
] as const) {
  test(`two sites of a cluster prove themselves to each other ${what}, however the bytes come`, () => {
    for (const pieceBytes of [1 << 20, 1, 7]) {
      const { network, clock, outcomes, opened } = dial(sides, pieceBytes);
      const asked = opened[0] ?? assert.fail();
      assert.equal(asked.peer.site, "east");
      assert.deepEqual(asked.document, { purpose: "inquiry" });
      assert.equal(outcomes.length, 0);
      sendDocument(asked.peer, frameType.opened, { hello: 1 });
      network.settle(pieceBytes);
      const outcome = outcomes[0] ?? assert.fail();
      assert.ok(outcome.kind === "opened" && outcome.peer.site === "west");
      assert.deepEqual(outcome.document, { hello: 1 });
      assert.equal(clock.timers(), 0, "nothing is left running");
      assert.deepEqual(network.ends()[0].closes, []);
    }
  });
}

/** What differs between the sites, and what each end then reads. */
const refusals: Readonly<Record<string, { sides: Sides; dialer: RegExp; listener: RegExp }>> = {
  "row 58: another secret": {
    sides: { west: { secret: new Uint8Array(32).fill(8) } },
    dialer: /does not know the cluster's secret/,
    listener: /does not know the cluster's secret/,
  },
  "a secret at one side only": {
    sides: { east: { secret: undefined } },
    dialer: /only one of both sites is configured with a secret/,
    listener: /only one of both sites is configured with a secret/,
  },
  "another cluster": {
    sides: { west: { cluster: "other" } },
    dialer: /it belongs to cluster "other", we to "acme"/,
    listener: /it belongs to cluster "acme", we to "other"/,
  },
  "a site that the other does not know": {
    sides: { east: { site: "north" } },
    dialer: /the other site refused: site "north" is not in our configuration/,
    listener: /site "north" is not in our configuration/,
  },
  "a site that was not dialled": {
    sides: { west: { site: "vault" } },
    dialer: /we dialled "west" and "vault" answered; check its address/,
    listener: /the other site refused: we dialled "west" and "vault" answered/,
  },
  "a site that calls itself by our name": {
    sides: { east: { site: "west" } },
    dialer: /claims to be this very site/,
    listener: /claims to be this very site/,
  },
};

for (const [what, { sides, dialer, listener }] of Object.entries(refusals)) {
  test(`${what} is refused, and both ends can read why`, () => {
    const { network, clock, outcomes, opened } = dial(sides);
    const why = onlyFailure(outcomes);
    assert.match(why, dialer);
    const [east, west] = network.ends();
    assert.deepEqual(east.closes, [why]);
    assert.equal(west.closes.length, 1);
    assert.match(west.closes[0] ?? "", listener);
    assert.deepEqual(opened, []);
    assert.equal(clock.timers(), 0);
  });
}

// ---------------------------------------------------------------------- an other end that misbehaves

/** An end without our code: `script` sends what it likes, whenever a document comes. */
function stranger(
  script: (send: (type: FrameType, document: unknown) => void, heard: Heard[]) => void,
): (connection: Connection) => ConnectionEvents {
  return (connection) => {
    const pool = createHeaderPool();
    const heard: Heard[] = [];
    const decoder = createFrameDecoder(
      (frame) => {
        const document = decodeJson(frame);
        heard.push({
          type: frame.header.type,
          value: (document.ok ? document.value : {}) as Record<string, unknown>,
        });
        script((type, value) => connection.send(encodeJson(pool, type, value)), heard);
      },
      (rule) => assert.fail(rule),
    );
    return {
      onData: (chunk) => pushChunk(decoder, chunk),
      onClose: () => undefined,
      onDrain: () => undefined,
    };
  };
}

type Heard = { readonly type: FrameType; readonly value: Record<string, unknown> };

const greeting = {
  antipode: 1,
  protocol: { lowest: 1, highest: 1 },
  cluster: "acme",
  site: "west",
  nonce: "a".repeat(64),
  bootId: "",
  secured: true,
};

test("a proof that is sent back as it came proves nothing", () => {
  let reflected = 0;
  const { outcomes } = dial({
    listener: stranger((send, heard) => {
      const last = heard.at(-1);
      if (last?.type === frameType.greeting) {
        send(frameType.greeting, { ...greeting, nonce: last.value["nonce"] });
      } else if (last?.type === frameType.proof) {
        reflected += 1;
        send(frameType.proof, last.value);
      }
    }),
  });
  assert.equal(reflected, 1);
  assert.match(onlyFailure(outcomes), /does not know the cluster's secret/);
});

test("a proof of one connection proves nothing on another", () => {
  const recorded = dial();
  const proofs: Record<string, unknown>[] = [];
  const decoder = createFrameDecoder(
    (frame) => {
      const document = decodeJson(frame);
      if (frame.header.type === frameType.proof && document.ok) {
        proofs.push(document.value as Record<string, unknown>);
      }
    },
    (rule) => assert.fail(rule),
  );
  for (const chunk of recorded.network.ends()[1].sent) pushChunk(decoder, chunk);
  assert.equal(proofs.length, 1);
  const { outcomes } = dial({
    listener: stranger((send, heard) => {
      if (heard.length > 1) return;
      send(frameType.greeting, greeting);
      send(frameType.proof, proofs[0]);
    }),
  });
  assert.match(onlyFailure(outcomes), /does not know the cluster's secret/);
});

test("an empty proof passes only where nobody has a secret", () => {
  const { outcomes } = dial({
    listener: stranger((send, heard) => {
      if (heard.length > 1) return;
      send(frameType.greeting, greeting);
      send(frameType.proof, { proof: "" });
    }),
  });
  assert.match(onlyFailure(outcomes), /does not know the cluster's secret/);
});

test("row 33: a site of another protocol version is refused with both versions named", () => {
  const refusalsHeard: unknown[] = [];
  const { outcomes } = dial({
    listener: stranger((send, heard) => {
      const last = heard.at(-1);
      if (last?.type === frameType.refused) refusalsHeard.push(last.value["why"]);
      if (heard.length === 1)
        send(frameType.greeting, { ...greeting, protocol: { lowest: 7, highest: 9 } });
    }),
  });
  const why = onlyFailure(outcomes);
  assert.match(why, /it speaks peer protocol 7 to 9, this build 1 to 1; bring both sites/);
  assert.deepEqual(refusalsHeard, [why]);
});

const disorders: Readonly<Record<string, readonly (readonly [FrameType, unknown])[]>> = {
  "did not begin with a greeting": [[frameType.proof, { proof: "" }]],
  "did not prove itself": [
    [frameType.greeting, greeting],
    [frameType.opened, {}],
  ],
  "its greeting is incomplete": [[frameType.greeting, { ...greeting, nonce: "" }]],
  "its proof is incomplete": [
    [frameType.greeting, greeting],
    [frameType.proof, { proof: 5 }],
  ],
  "it does not speak our protocol": [[frameType.greeting, [1, 2, 3]]],
  "REFUSED gives no reason": [[frameType.refused, {}]],
};

for (const [why, frames] of Object.entries(disorders)) {
  test(`I34: a listener out of order ends the handshake in words: ${why}`, () => {
    const { outcomes, clock } = dial({
      listener: stranger((send, heard) => {
        if (heard.length > 1) return;
        for (const [type, document] of frames) send(type, document);
      }),
    });
    assert.ok(onlyFailure(outcomes).includes(why), onlyFailure(outcomes));
    assert.equal(clock.timers(), 0);
  });
}

test("row 56: garbage in a handshake ends that connection with a rule, whatever it is", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 })), (chunks) => {
      const { outcomes, network, clock } = dial({
        listener: (connection) => {
          connection.send(chunks);
          return {
            onData: () => undefined,
            onClose: () => undefined,
            onDrain: () => undefined,
          };
        },
      });
      clock.advance(limits.peerHandshakeMsMax);
      network.settle();
      assert.match(onlyFailure(outcomes), /magic number|checksum|took too long/);
      assert.equal(clock.timers(), 0);
    }),
    { numRuns: 100 },
  );
});

test("what OPEN is answered with must be OPENED or REFUSED", () => {
  const refused = dial();
  sendDocument(refused.opened[0]?.peer ?? assert.fail(), frameType.refused, { code: "busy" });
  refused.network.settle();
  assert.deepEqual(refused.outcomes, [{ kind: "refused", document: { code: "busy" } }]);

  const odd = dial();
  sendDocument(odd.opened[0]?.peer ?? assert.fail(), frameType.probe, {});
  odd.network.settle();
  assert.match(onlyFailure(odd.outcomes), /something else than OPENED or REFUSED/);
});

// --------------------------------------------------------------------------------- time and owners

const silence = (): ConnectionEvents => ({
  onData: () => undefined,
  onClose: () => undefined,
  onDrain: () => undefined,
});

test("row 56: who says nothing is given up after the handshake's time", () => {
  const { outcomes, network, clock } = dial({ listener: silence });
  clock.advance(limits.peerHandshakeMsMax - 1);
  network.settle();
  assert.deepEqual(outcomes, []);
  clock.advance(1);
  network.settle();
  assert.match(onlyFailure(outcomes), /the handshake took too long/);
});

test("row 36: a site that proves itself and then stands still does not hold the dial for ever", () => {
  const { outcomes, opened, network, clock } = dial();
  assert.equal(opened.length, 1);
  assert.deepEqual(outcomes, []);
  clock.advance(limits.peerHandshakeMsMax);
  network.settle();
  assert.match(onlyFailure(outcomes), /took too long/);
});

test("row 56: a dialler that proves itself and asks for nothing is given up too", () => {
  const clock = createManualClock();
  const west = identityOf("west", clock, { secret: undefined });
  const network = createMemoryNetwork((connection) =>
    acceptPeer(west, connection, () => assert.fail("nothing was asked")),
  );
  const script = stranger((send, heard) => {
    if (heard.length > 1) return;
    send(frameType.greeting, { ...greeting, site: "east", secured: false });
    send(frameType.proof, { proof: "" });
  });
  network.transport.dial("somewhere", 1, { onOpen: script, onFail: () => assert.fail() });
  network.settle();
  assert.deepEqual(network.ends()[1].closes, []);
  clock.advance(limits.peerHandshakeMsMax);
  network.settle();
  assert.match(network.ends()[1].closes.join(), /took too long/);
});

test("an opened peer that its owner closes is not told of as a failed dial", () => {
  const { outcomes, opened, network } = dial();
  sendDocument(opened[0]?.peer ?? assert.fail(), frameType.opened, {});
  network.settle();
  const outcome = outcomes[0];
  assert.ok(outcome?.kind === "opened");
  outcome.peer.connection.close("not wanted any more");
  network.settle();
  assert.equal(outcomes.length, 1);
});

test("an owner hears once that its peer is lost, and of nothing after it", () => {
  const { outcomes, opened, network } = dial();
  const west = opened[0]?.peer ?? assert.fail();
  sendDocument(west, frameType.opened, {});
  network.settle();
  const outcome = outcomes[0];
  assert.ok(outcome?.kind === "opened");
  const heard: string[] = [];
  outcome.peer.onLost = (why) => heard.push(why);
  outcome.peer.onFrame = ({ header }) => heard.push(`frame ${header.type}`);
  outcome.peer.onChunkEnd = () => heard.push("chunk");
  sendDocument(west, frameType.begun, {});
  network.settle();
  west.connection.close("gone");
  network.settle();
  assert.deepEqual(heard, [
    `frame ${frameType.begun}`,
    "chunk",
    "the other side has ended the connection",
  ]);
});
