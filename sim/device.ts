import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { BlockDevice, ReadDone, WriteDone } from "#ports/block-device.ts";
import type { Clock } from "#ports/clock.ts";
import type { DeviceLink, DeviceLinkEvents } from "#ports/device-link.ts";
import { createLinkedImage } from "#site/linked-image.ts";
import { failure } from "./disk.ts";
import type { SimDisk, StepKind } from "./disk.ts";
import { imageInode } from "./disk-image.ts";
import type { ImageWatcher } from "./disk-image.ts";
import { losePower, readInode, syncInode, writeInode, zeroInode } from "./disk-state.ts";
import type { Inode, Keep } from "./disk-state.ts";
import type { Prng } from "./prng.ts";
import type { Process } from "./process.ts";
import { eventKind } from "./scheduler.ts";

/** How fast a device is, and whether what it answers is durable without a flush (`trustDevice`). */
export type DeviceShape = {
  /** Mean time of a request on its way there, and of its answer on the way back. */
  readonly requestUs: number;
  readonly syncUs: number;
  readonly isTrusted: boolean;
};

type Request = {
  readonly kind: StepKind | "read";
  readonly effect: () => void;
  readonly done: (failure: IoFailure | undefined) => void;
  isMade: boolean;
};

/** One connection. What was asked of it, and not answered, is in `asked`; it is over before its owner is told. */
type Session = { readonly asked: Set<Request>; isOver: boolean };

/**
 * A stranger's block store that serves one volume: it has a power supply of its own, forgets what was not flushed when it
 * loses that, and does what is under way in any order. Its content lies among the images of the site whose volume it is, so
 * that whoever looks at images finds it.
 */
export class SimDevice {
  /** GROUP/VOLUME. */
  readonly name: string;
  readonly address: string;
  readonly disk: SimDisk;
  readonly inode: Inode;
  readonly shape: DeviceShape;
  readonly rng: Prng;
  /** Its server runs, and the way there is open. */
  isUp = true;
  isReachable = true;
  /** Until then nothing that arrives is looked at. */
  stalledUntilUs = 0;
  /** So many requests are answered with an error. */
  failing = 0;
  readonly #links = new Set<SimDeviceLink>();

  constructor(options: {
    name: string;
    address: string;
    disk: SimDisk;
    image: string;
    bytes: number;
    shape: DeviceShape;
    rng: Prng;
  }) {
    const { name, address, disk, image, bytes, shape, rng } = options;
    this.name = name;
    this.address = address;
    this.disk = disk;
    this.inode = imageInode(disk, image, bytes);
    this.inode.isRemote = true;
    this.shape = shape;
    this.rng = rng;
  }

  connect(options: LinkOptions): DeviceLink {
    const link = new SimDeviceLink(this, options);
    this.#links.add(link);
    return link;
  }

  /** Connections end; what was under way on them was done, or will never be. */
  cut(why: string): void {
    for (const link of this.#links) link.cut(why);
  }

  /** The server dies, with whatever it had not flushed. */
  crash(keep: Keep): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.cut("the server is gone");
    losePower(this.disk.state, keep, this.rng, this.inode);
  }

  forget(link: SimDeviceLink): void {
    this.#links.delete(link);
  }

  travelUs(): number {
    return this.rng.exponential(this.shape.requestUs);
  }
}

/** The volume's image as one process sees it; its writes are seen when they are asked for, as those of other images. */
export function openLinkedImage(
  device: SimDevice,
  options: {
    readonly process: Process;
    readonly clock: Clock;
    readonly watch: ImageWatcher | undefined;
  },
): BlockDevice {
  const { process, clock, watch } = options;
  const see: LinkOptions["see"] = (offset, lengthBytes, chunks) => {
    if (process.alive) watch?.(process, { volume: device.name, offset, lengthBytes, chunks });
  };
  // Whoever takes the link asks it himself.
  let seeAtLink: LinkOptions["see"] = () => undefined;
  const image = createLinkedImage({
    connect: (events) =>
      device.connect({ process, events, see: (...write) => seeAtLink(...write) }),
    clock,
  });
  return {
    bytes: image.bytes,
    read: (offset, length, context, done) => image.read(offset, length, context, done),
    write(offset, chunks, context, done) {
      see(offset, lengthOf(chunks), chunks);
      image.write(offset, chunks, context, done);
    },
    // oxlint-disable-next-line max-params -- the port's shape
    zero(offset, length, mayPunch, context, done) {
      see(offset, length, undefined);
      image.zero(offset, length, mayPunch, context, done);
    },
    sync: (done) => image.sync(done),
    failure: () => image.failure(),
    unsyncedBytes: () => image.unsyncedBytes(),
    isPressed: () => image.isPressed(),
    extents: (offset, length, done) => image.extents(offset, length, done),
    whyNotGrow: (bytes) => image.whyNotGrow(bytes),
    grow: (bytes, done) => image.grow(bytes, done),
    close: () => image.close(),
    takeLink(events) {
      seeAtLink = see;
      const link = image.takeLink?.(events);
      if (link === undefined) throw new Error("a linked image has no link");
      return link;
    },
  };
}

type LinkOptions = {
  readonly process: Process;
  readonly events: DeviceLinkEvents;
  readonly see: (
    offset: number,
    lengthBytes: number,
    chunks: readonly Uint8Array[] | undefined,
  ) => void;
};

/** The `DeviceLink` port: dials until it is closed, as io/nbd-link.ts does. */
class SimDeviceLink implements DeviceLink {
  readonly address: string;
  readonly bytes: number;
  readonly #device: SimDevice;
  readonly #process: Process;
  readonly #events: DeviceLinkEvents;
  readonly #see: LinkOptions["see"];
  #session: Session | undefined;
  #redialMs: number = limits.deviceRedialMsMin;
  #isClosed = false;

  constructor(device: SimDevice, { process, events, see }: LinkOptions) {
    this.#device = device;
    this.#process = process;
    this.#events = events;
    this.#see = see;
    this.address = device.address;
    this.bytes = device.inode.bytes;
    process.atExit.push(() => {
      if (this.#session !== undefined) this.#lose(this.#session);
      device.forget(this);
    });
    this.#dialAfter(device.travelUs());
  }

  isUp(): boolean {
    return this.#session !== undefined;
  }

  read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void {
    const into = new Uint8Array(length);
    this.#ask({
      kind: "read",
      effect: () => readInode(this.#device.inode, "current", offset, into),
      done: (refused) => done(context, refused, refused === undefined ? into : new Uint8Array(0)),
      isMade: false,
    });
  }

  write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void {
    const { disk, inode } = this.#device;
    this.#see(offset, lengthOf(chunks), chunks);
    this.#change(
      "write",
      () => writeInode(disk.state, inode, offset, chunks),
      (refused) => done(context, refused),
    );
  }

  // oxlint-disable-next-line max-params -- the port's shape
  zero<C>(offset: number, length: number, _: boolean, context: C, done: WriteDone<C>): void {
    const { disk, inode } = this.#device;
    this.#see(offset, length, undefined);
    this.#change(
      "zero",
      () => zeroInode(disk.state, inode, offset, length),
      (refused) => done(context, refused),
    );
  }

  flush(done: (failure: IoFailure | undefined) => void): void {
    const { disk, inode } = this.#device;
    // What was answered before the call; what is under way meanwhile may be forgotten all the same.
    const covered = disk.state.seq;
    this.#ask({
      kind: "sync",
      effect: () => syncInode(disk.state, inode, covered),
      done,
      isMade: false,
    });
  }

  drop(why: string): void {
    const session = this.#session;
    this.#redialMs = limits.deviceRedialMsMax;
    if (session === undefined) return;
    this.#lose(session);
    this.#device.disk.scheduler.soon(this.#process, () => this.#told(session, why));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#device.forget(this);
    const session = this.#session;
    if (session === undefined) return;
    this.#lose(session);
    this.#told(session, "the volume is closed here");
  }

  /** The connection ends at the other end, which is noticed here a little later. */
  cut(why: string): void {
    const session = this.#session;
    if (session === undefined || session.isOver) return;
    this.#lose(session);
    this.#after(this.#device.rng.exponential(2_000), () => this.#told(session, why));
  }

  // ---------------------------------------------------------------------------------------- requests

  #change(kind: StepKind, apply: () => void, done: (failure: IoFailure | undefined) => void): void {
    const { disk, inode, shape } = this.#device;
    const effect = (): void => {
      apply();
      if (shape.isTrusted) syncInode(disk.state, inode, disk.state.seq);
    };
    this.#ask({ kind, effect, done, isMade: false });
  }

  #ask(request: Request): void {
    const session = this.#session;
    if (!this.#process.alive) return;
    if (session === undefined) {
      const { scheduler } = this.#device.disk;
      return scheduler.soon(this.#process, () => request.done(away("the link is not up")));
    }
    session.asked.add(request);
    const { rng, shape } = this.#device;
    const atWorkUs = request.kind === "sync" ? shape.syncUs * (0.3 + rng.exponential(0.7)) : 0;
    this.#serveAfter(this.#device.travelUs() + atWorkUs, session, request);
  }

  #serveAfter(delayUs: number, session: Session, request: Request): void {
    const { scheduler } = this.#device.disk;
    scheduler.after(delayUs, undefined, eventKind.deviceOp, () => this.#serve(session, request));
  }

  #serve(session: Session, request: Request): void {
    const device = this.#device;
    const { scheduler } = device.disk;
    if (session.isOver || request.isMade) return;
    if (device.stalledUntilUs > scheduler.nowUs) {
      this.#after(limits.deviceSilenceMsMax * 1_000, () => this.#giveUp(session, request));
      return this.#serveAfter(device.stalledUntilUs - scheduler.nowUs, session, request);
    }
    let refused: IoFailure | undefined;
    if (device.failing > 0 && request.kind !== "read") {
      device.failing -= 1;
      refused = failure("EIO", `${device.address} answers with error 5`);
    }
    // Of what is refused a part may have been done.
    if (refused === undefined || device.rng.chance(0.5)) this.#make(request);
    else request.isMade = true;
    this.#after(device.travelUs(), () => {
      const isLost = session.isOver && device.rng.chance(0.5);
      if (!isLost && request.isMade && session.asked.delete(request)) request.done(refused);
    });
  }

  /** Its effect, as a step at which the gateway may be made to die. */
  #make(request: Request): void {
    const { disk } = this.#device;
    const apply = (): void => {
      if (request.isMade) return;
      request.isMade = true;
      request.effect();
    };
    if (request.kind === "read" || !this.#process.alive) apply();
    else disk.step(this.#process, request.kind, apply);
  }

  #giveUp(session: Session, request: Request): void {
    if (this.#session !== session || !session.asked.has(request)) return;
    this.#lose(session);
    this.#told(session, `it has not answered for ${limits.deviceSilenceMsMax} ms`);
  }

  // -------------------------------------------------------------------------------------- connection

  /** Whatever was under way was done, or will never be: nobody here knows. */
  #lose(session: Session): void {
    if (session.isOver) return;
    session.isOver = true;
    for (const request of session.asked) {
      if (request.isMade || !this.#device.rng.chance(0.5)) continue;
      request.isMade = true;
      request.effect();
    }
  }

  #told(session: Session, why: string): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    const asked = [...session.asked];
    session.asked.clear();
    for (const { done } of asked) done(away(why));
    this.#down(why);
  }

  #down(why: string): void {
    if (this.#isClosed) return;
    this.#dialAfter(this.#redialMs * 1_000);
    this.#redialMs = Math.min(limits.deviceRedialMsMax, this.#redialMs * 2);
    this.#events.onDown(why, false);
  }

  #dialAfter(delayUs: number): void {
    this.#after(delayUs, () => {
      const { isUp, isReachable } = this.#device;
      if (this.#isClosed) return;
      if (!isUp || !isReachable) return this.#down("nobody answers there");
      this.#session = { asked: new Set(), isOver: false };
      this.#redialMs = limits.deviceRedialMsMin;
      this.#events.onUp();
    });
  }

  #after(delayUs: number, run: () => void): void {
    this.#device.disk.scheduler.after(delayUs, this.#process, eventKind.deviceOp, run);
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

function away(why: string): IoFailure {
  return failure("ENOTCONN", why);
}
