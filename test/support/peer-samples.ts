import { joined, utf8 } from "#base/bytes.ts";
import { createHeaderPool, encodeHeader } from "#wire/peer/encode.ts";
import { allVolumes, emptyHeader, frameFlags, frameType } from "#wire/peer/messages.ts";
import type { FrameHeader, FrameType } from "#wire/peer/messages.ts";

/** A frame as a test asks for it: fields that are not zero, and the body. */
export type SampleFrame = {
  readonly type: FrameType;
  readonly fields: Partial<FrameHeader>;
  readonly body: Uint8Array;
};

const history = [{ counter: 1, id: "a1", site: "east" }];
const session = { generation: 3, epoch: 9 };
const bits = Uint8Array.of(0b1010_0001, 0xff);

/** Each JSON document that sites send one another, complete and valid. */
export const sampleDocuments = {
  greeting: {
    antipode: 1,
    protocol: { lowest: 1, highest: 1 },
    cluster: "acme",
    site: "east",
    nonce: "0123456789abcdef".repeat(4),
    bootId: "boot-1",
    secured: true,
  },
  proof: { proof: "00ff".repeat(16) },
  open: {
    purpose: "session",
    group: "bank",
    volumes: [{ name: "data", bytes: 67_108_864 }],
    regionBytes: 65_536,
    history,
    incarnation: 2,
    epoch: 9,
    lsn: 4_503_599_627_370_496,
  },
  lane: { purpose: "lane", group: "bank", generation: 3, incarnation: 2, epoch: 9, lane: 1 },
  handover: {
    purpose: "handover",
    group: "bank",
    isOffer: true,
    generation: 3,
    incarnation: 2,
    epoch: 9,
    lsn: 12,
    lsnReserved: 1_048_577,
    stableLsn: 10,
  },
  feed: { site: "west", incarnation: 2, epoch: 9, fromSet: 8, connections: 4, compress: "auto" },
  feedLost: { epoch: 9, why: "west is not reached", isUnreadable: false },
  grow: {
    purpose: "grow",
    group: "bank",
    history: [{ counter: 3, id: "c3", site: "east" }],
    incarnation: 2,
    volume: "data",
    bytes: 134_217_728,
    isWanted: true,
  },
  cancel: {
    purpose: "replay",
    group: "bank",
    volumes: [{ name: "data", bytes: 67_108_864 }],
    regionBytes: 65_536,
    history,
    incarnation: 2,
    completeSet: 7,
    untilLsn: null,
    isWanted: true,
    isCancelled: true,
    reached: ["east"],
  },
  replay: {
    purpose: "replay",
    group: "bank",
    volumes: [{ name: "data", bytes: 67_108_864 }],
    regionBytes: 65_536,
    history,
    incarnation: 2,
    completeSet: 7,
    untilLsn: 12,
    isWanted: true,
  },
  replayByItself: {
    purpose: "replay",
    group: "bank",
    volumes: [{ name: "data", bytes: 67_108_864 }],
    regionBytes: 65_536,
    history,
    incarnation: 2,
    completeSet: 7,
    automaticAfterMs: 60_000,
    untilLsn: null,
    isWanted: true,
  },
  takeBack: {
    purpose: "takeBack",
    group: "bank",
    history,
    end: { incarnation: 2, lsn: 12, set: 7, index: 3 },
  },
  replayOpened: {
    history,
    epoch: 9,
    isWhole: true,
    has: { set: 8, lsn: 14, writes: 2, bytes: 8192 },
    sends: { set: 7, lsn: 12, writes: 1, bytes: 4096 },
  },
  opened: {
    replicaId: "00112233445566778899aabbccddeeff",
    history,
    role: "secondary",
    image: "synchronized",
    isBlank: false,
    mustRewrite: false,
    aloneTowards: ["vault"],
    receivedLsn: 12,
    appliedLsn: 11,
    completeSet: 7,
    completeLsn: 12,
    preservedPoint: null,
  },
  refused: { code: "higher-generation", why: "west holds generation 4 of west", history },
  probe: {
    id: 77,
    views: [
      {
        group: "bank",
        role: "primary",
        history,
        image: "synchronized",
        lsn: 12,
        lsnReserved: 1_048_577,
        set: 0,
        stableLsn: 10,
        fractured: { west: "peer down" },
        wallMs: 1_760_000_000_000,
      },
    ],
  },
  begin: { history, incarnation: 2, lsn: 12, lsnReserved: 1_048_577, resync: true, firstSet: 0 },
  fractured: { why: "paused by an operator" },
  failed: { why: "the image here cannot be written: EIO" },
} as const;

/** One frame of every type there is, in an order in which they may travel. */
export const sampleFrames: readonly SampleFrame[] = [
  document("greeting", sampleDocuments.greeting),
  document("proof", sampleDocuments.proof),
  document("open", sampleDocuments.open),
  document("opened", sampleDocuments.opened),
  document("refused", sampleDocuments.refused),
  document("probe", sampleDocuments.probe),
  document("probeReply", sampleDocuments.probe),
  frame("begin", session, utf8(JSON.stringify(sampleDocuments.begin))),
  frame(
    "write",
    { ...session, lsn: 2 ** 52, volume: 1, offset: 2 ** 43, length: 5, sequence: 1 },
    utf8("hello"),
  ),
  frame("zero", {
    ...session,
    flags: frameFlags.mayPunch,
    lsn: 14,
    offset: 4096,
    length: 2 ** 32 - 1,
    sequence: 2,
  }),
  frame("region", { ...session, lsn: 14, length: 3, sequence: 3 }, Uint8Array.of(1, 0, 2)),
  frame("regionZero", { ...session, lsn: 14, offset: 65_536, length: 65_536, sequence: 4 }),
  frame(
    "compare",
    { ...session, lsn: 14, length: 65_536, index: 65_536, sequence: 2 ** 32 - 1 },
    Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  ),
  frame("batch", { ...session, index: 56 }, sealLine()),
  frame("flush", { ...session, volume: allVolumes, index: 5 }),
  frame("memberMap", { ...session, volume: 1, offset: 3968 }, bits),
  frame("synchronized", { ...session, lsn: 14 }),
  frame("mark", { ...session, set: 8 }),
  frame("fractured", { ...session, lsn: 14 }, utf8(JSON.stringify(sampleDocuments.fractured))),
  frame("ack", { ...session, sequence: 4, lsn: 14 }),
  frame("flushed", { ...session, index: 5 }),
  frame("differs", { ...session, sequence: 5 }, Uint8Array.of(1)),
  frame("begun", session),
  frame("synchronizedRecorded", session),
  frame("openMap", { ...session, volume: 0, offset: 0 }, bits),
  frame("openMapEnd", session),
  frame("progress", { ...session, set: 7, lsn: 12 }, new Uint8Array(32).fill(1)),
  frame("staged", { ...session, sequence: 3 }),
  frame("failed", session, utf8(JSON.stringify(sampleDocuments.failed))),
  frame("record", { ...session, lsn: 12, set: 7, offset: 3, length: 2, index: 56 }, sealLine()),
  frame("released", { ...session, lsn: 12, set: 7 }),
  frame("logged", { ...session, lsn: 14, set: 8, index: 1 }),
  frame("purged", { ...session, set: 8, lsn: 14, index: 3 }),
  frame("feed", { ...session, index: 9, set: 8 }, utf8(JSON.stringify(sampleDocuments.feed))),
  frame("feedEnd", { ...session, index: 9 }),
  frame("applied", { ...session, index: 9, set: 7 }),
  frame("feedLost", { ...session, index: 9 }, utf8(JSON.stringify(sampleDocuments.feedLost))),
  frame("invalidate", { ...session, lsn: 14, set: 8 }),
];

/** A batch of nothing but the SEAL of an empty set. */
function sealLine(): Uint8Array {
  const line = new Uint8Array(56);
  line[0] = 3;
  line[4] = 1;
  line[16] = 8;
  line[24] = 8;
  return line;
}

function document(type: keyof typeof frameType, value: unknown): SampleFrame {
  return frame(type, {}, utf8(JSON.stringify(value)));
}

function frame(
  type: keyof typeof frameType,
  fields: Partial<FrameHeader>,
  body: Uint8Array = new Uint8Array(0),
): SampleFrame {
  return { type: frameType[type], fields, body };
}

/** The frames as bytes on the wire, one behind the other. */
export function encodeFrames(frames: readonly SampleFrame[]): Uint8Array {
  const pool = createHeaderPool();
  return joined(
    frames.flatMap(({ type, fields, body }) => [
      encodeHeader(pool, { ...emptyHeader(type), ...fields }, [body]).slice(),
      body,
    ]),
  );
}

/** The frame as a decoder should hand it over. */
export function headerOf({ type, fields, body }: SampleFrame): FrameHeader {
  return { ...emptyHeader(type), ...fields, bodyBytes: body.length };
}
