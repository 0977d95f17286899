import type { Connection, ConnectionEvents, Transport } from "#ports/transport.ts";
import type { Process } from "./process.ts";
import type { Prng } from "./prng.ts";
import { SimConnection } from "./connection.ts";
import { eventKind } from "./scheduler.ts";
import type { Scheduler } from "./scheduler.ts";

/** One direction between two sites. */
export type Link = {
  readonly source: string;
  readonly target: string;
  /** A black hole: nothing arrives, and what was sent waits, as TCP would send it again until the link is back. */
  down: boolean;
  /** When it last went down or came back. */
  changedUs: number;
  delayUs: number;
  bytesPerSecond: number;
  /** How many of the next segments arrive with one bit turned over. */
  flips: number;
  /** What waits for the link to come back. */
  readonly waiting: (() => void)[];
};

/** Where a site listens, as the network sees it. */
export type Listener = {
  /** The process that accepts, or undefined while none runs. */
  process(): Process | undefined;
  /** False while the machine is without power: then nothing answers at all. */
  powered(): boolean;
  accept(connection: Connection): ConnectionEvents;
};

export type NetworkShape = {
  readonly delayUs: number;
  readonly bytesPerSecond: number;
  /** How often a delivery is cut into pieces at places that mean nothing. */
  readonly splitChance: number;
  /** What a connection takes before the sender must wait. */
  readonly windowBytes: number;
  /** Scribbles over what its owner gave back. */
  readonly scribbles: boolean;
};

/** All sites' links and connections. Byte streams as TCP gives them: ordered, and nothing else promised. */
export class Network {
  readonly scheduler: Scheduler;
  readonly rng: Prng;
  readonly shape: NetworkShape;
  /** Told when a program itself ends a connection, and why. */
  onClose: ((site: string, remote: string, why: string) => void) | undefined;
  readonly #links = new Map<string, Link>();
  readonly #listeners = new Map<string, Listener>();
  readonly #open = new Set<SimConnection>();

  constructor(scheduler: Scheduler, rng: Prng, shape: NetworkShape) {
    this.scheduler = scheduler;
    this.rng = rng;
    this.shape = shape;
  }

  listen(site: string, listener: Listener): void {
    this.#listeners.set(site, listener);
  }

  isPowered(site: string): boolean {
    return this.#listeners.get(site)?.powered() === true;
  }

  /** The direction from one site to another; made with the shape's figures when first asked for. */
  link(source: string, target: string): Link {
    const key = `${source}>${target}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      const { delayUs, bytesPerSecond } = this.shape;
      link = {
        source,
        target,
        down: false,
        changedUs: 0,
        delayUs,
        bytesPerSecond,
        flips: 0,
        waiting: [],
      };
      this.#links.set(key, link);
    }
    return link;
  }

  links(): readonly Link[] {
    return [...this.#links.values()];
  }

  /** Sends something over a link after its delay, or when it is back. `atLeastUs` keeps the order of one connection. */
  travel(link: Link, lengthBytes: number, atLeastUs: number, arrive: () => void): number {
    const { scheduler } = this;
    const transferUs = (lengthBytes * 1e6) / link.bytesPerSecond;
    const flightUs = link.delayUs * (0.7 + this.rng.exponential(0.3)) + transferUs;
    const atUs = Math.max(atLeastUs + 1, Math.ceil(scheduler.nowUs + flightUs));
    scheduler.after(atUs - scheduler.nowUs, undefined, eventKind.netArrive, () => {
      if (link.down || link.waiting.length > 0) link.waiting.push(arrive);
      else arrive();
    });
    return atUs;
  }

  /** Turns a direction off or on. What waited arrives in its order. */
  setDown(link: Link, down: boolean): void {
    link.down = down;
    link.changedUs = this.scheduler.nowUs;
    if (down) return;
    for (const arrive of link.waiting.splice(0)) arrive();
  }

  /** Ends every connection between two sites as a device on the way would: both ends get a reset, bytes on the way are lost. */
  reset(first: string, second: string): number {
    let count = 0;
    for (const connection of this.#open) {
      if (connection.link.source !== first || connection.link.target !== second) continue;
      count += 1;
      connection.tear();
    }
    return count;
  }

  connectionsOf(process: Process): readonly SimConnection[] {
    return [...this.#open].filter((connection) => connection.process === process);
  }

  /** Calls back, now or later, when no connection is to send from this chunk any more. */
  whenTaken(chunk: Uint8Array, release: () => void): void {
    let senders = 1;
    const taken = (): void => {
      senders -= 1;
      if (senders === 0) release();
    };
    for (const connection of this.#open) if (connection.whenTaken(chunk, taken)) senders += 1;
    taken();
  }

  opened(connection: SimConnection): void {
    this.#open.add(connection);
  }

  closed(connection: SimConnection): void {
    this.#open.delete(connection);
  }

  transport(process: Process): Transport {
    return {
      dial: (address, timeoutMs, handlers) => {
        if (!process.alive) return;
        this.#dial(process, siteOf(address), timeoutMs, handlers);
      },
    };
  }

  #dial(
    process: Process,
    target: string,
    timeoutMs: number,
    handlers: Parameters<Transport["dial"]>[2],
  ): void {
    const { scheduler } = this;
    const out = this.link(process.site, target);
    const back = this.link(target, process.site);
    let answered = false;
    const answer = (run: () => void): void => {
      scheduler.after(0, process, eventKind.netDial, () => {
        if (answered) return;
        answered = true;
        run();
      });
    };
    scheduler.after(timeoutMs * 1000, process, eventKind.netDial, () => {
      if (answered) return;
      answered = true;
      handlers.onFail({
        kind: "unreachable",
        message: `${target} did not answer in ${timeoutMs} ms`,
      });
    });
    this.travel(out, 64, 0, () => {
      const listener = this.#listeners.get(target);
      if (listener === undefined || !listener.powered()) return;
      const acceptor = listener.process();
      if (acceptor === undefined || !acceptor.alive) {
        this.travel(back, 64, 0, () =>
          answer(() =>
            handlers.onFail({ kind: "refused", message: `nobody listens at ${target}` }),
          ),
        );
        return;
      }
      this.#connect({ process, acceptor, out, back, listener }, (near) => {
        answer(() => {
          if (!near.isOpen()) return handlers.onFail({ kind: "unreachable", message: "reset" });
          near.start(handlers.onOpen(near));
        });
        // The dialler may have given up meanwhile: then nobody is there to own the connection.
        scheduler.after(1, process, eventKind.netDial, () => {
          if (!near.isStarted()) near.tear();
        });
      });
    });
  }

  #connect(
    parts: { process: Process; acceptor: Process; out: Link; back: Link; listener: Listener },
    opened: (near: SimConnection) => void,
  ): void {
    const near = new SimConnection(this, parts.process, parts.out);
    const far = new SimConnection(this, parts.acceptor, parts.back);
    near.peer = far;
    far.peer = near;
    // The kernel completes the handshake though the process may stand still; it accepts when it goes on.
    this.scheduler.after(0, parts.acceptor, eventKind.netDial, () => {
      if (far.isOpen()) far.start(parts.listener.accept(far));
    });
    this.travel(parts.back, 64, 0, () => {
      if (parts.process.alive) opened(near);
      else far.receiveReset("reset by peer");
    });
  }
}

/** Addresses of the simulator are `SITE:PORT`. */
function siteOf(address: string): string {
  return address.slice(0, address.indexOf(":"));
}
