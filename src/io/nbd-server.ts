import { createServer, type Server, type Socket } from "node:net";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { formatAddress, parseAddress, type Address } from "#config/addresses.ts";
import type { Events } from "#ports/events.ts";
import type { Exports } from "#ports/exports.ts";
import { bind } from "./bind.ts";
import { createHeldBytes } from "./held-bytes.ts";
import { NbdConnection, type NbdConnectionEvents } from "./nbd-connection.ts";
import { createPoller, type PollerCounters } from "./poll.ts";
import type { ReceivedMemory } from "./received-memory.ts";

export type NbdServerOptions = {
  /** `host:port`, `[v6]:port` or `unix:/path`; port 0 lets the system choose. */
  readonly addresses: readonly string[];
  readonly exports: Exports;
  /** Gets the writes' bytes back when they are answered; without it they are left to the garbage collector. */
  readonly memory?: ReceivedMemory;
  /** Takes `host-connected` and `host-disconnected`. */
  readonly events?: Events;
  /**
   * Trouble that nobody waits for: a listening socket that fails, a client that breaks the protocol. At most
   * `limits.nbdReportsPerSweepMax` of the latter are told in a second, the rest are only counted.
   */
  readonly onError: (error: AppError) => void;
  /** Connections at a time; by default `limits.hostConnectionsMax`. */
  readonly connectionsMax?: number;
};

export type NbdServer = {
  /** Where it listens, in the order asked for, with real ports. */
  readonly addresses: readonly string[];
  /** Stops listening, lets requests under way end, closes all connections. */
  close(): Promise<void>;
  counters(): NbdCounters;
};

export type NbdCounters = {
  readonly connections: number;
  readonly connectionsTotal: number;
  /** Turned away because there were too many. */
  readonly connectionsRefused: number;
  /** Ended by us because of what the client did. */
  readonly violations: number;
  readonly requestsInFlight: number;
  readonly requestsTotal: number;
  /** Memory held for hosts. */
  readonly heldBytes: number;
  readonly poll: PollerCounters;
};

/** Serves a site's exports over NBD. Rejects with AppError when an address cannot be had; then nothing listens. */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const front = new NbdFront(options);
  const addresses: string[] = [];
  try {
    for (const text of options.addresses) {
      addresses.push(formatAddress(await front.listen(addressOf(text))));
    }
  } catch (error: unknown) {
    await front.close();
    throw error;
  }
  return { addresses, close: () => front.close(), counters: () => front.counters() };
}

/** Reads an address; other than in the cluster file, the port may be 0. */
function addressOf(text: string): Address {
  const anyPort = !text.startsWith("unix:") && text.endsWith(":0");
  const parsed = parseAddress(anyPort ? text.replace(/0$/, "1") : text);
  if (!parsed.ok) throw new AppError("config", parsed.reason, { hint: parsed.hint });
  const { address } = parsed;
  return anyPort && address.kind === "tcp" ? { ...address, port: 0 } : address;
}

/** Owns the listening sockets and all connections. */
class NbdFront {
  readonly #options: NbdServerOptions;
  readonly #listeners: Server[] = [];
  readonly #connections = new Set<NbdConnection>();
  /** Those that have not entered an export, the oldest first: the first to go when there are too many. */
  readonly #haggling = new Set<NbdConnection>();
  readonly #poller = createPoller({
    openMicrosMax: limits.hostPollOpenMicrosMax,
    restMicrosMax: limits.hostPollRestMicrosMax,
  });
  readonly #held = createHeldBytes(limits.hostHeldBytesMax);
  readonly #sweeper: NodeJS.Timeout;
  readonly #connectionEvents: NbdConnectionEvents;
  #connectionsTotal = 0;
  #connectionsRefused = 0;
  #violations = 0;
  #reportsLeft: number = limits.nbdReportsPerSweepMax;
  #requestsOfClosed = 0;
  #onEmpty: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), limits.nbdSweepMs);
    this.#connectionEvents = {
      onServe: (connection, volume) => {
        this.#haggling.delete(connection);
        const { group, name } = volume;
        options.events?.emit({
          kind: "host-connected",
          group,
          volume: name,
          why: connection.remote,
        });
      },
      onClose: (connection, violation) => this.#onClose(connection, violation),
    };
    options.exports.onDrop((group) => {
      for (const connection of this.#connections) {
        if (connection.volume?.group === group) connection.drain();
      }
    });
  }

  async listen(address: Address): Promise<Address> {
    const server = createServer(
      {
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: limits.nbdKeepAliveMs,
        allowHalfOpen: true,
        // The connection says where it receives.
        pauseOnConnect: true,
      },
      (socket) => this.#onConnection(socket),
    );
    const actual = await bind(server, address);
    this.#listeners.push(server);
    server.on("error", (cause) => {
      const what = `the NBD listener on ${formatAddress(actual)} failed: ${cause.message}`;
      this.#options.onError(new AppError("failed", what, { cause }));
    });
    return actual;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  counters(): NbdCounters {
    let requestsInFlight = 0;
    let requestsTotal = this.#requestsOfClosed;
    for (const connection of this.#connections) {
      requestsInFlight += connection.requestsInFlight;
      requestsTotal += connection.requestsTotal;
    }
    return {
      connections: this.#connections.size,
      connectionsTotal: this.#connectionsTotal,
      connectionsRefused: this.#connectionsRefused,
      violations: this.#violations,
      requestsInFlight,
      requestsTotal,
      heldBytes: this.#held.total(),
      poll: this.#poller.counters(),
    };
  }

  async #close(): Promise<void> {
    const stopped = this.#listeners.map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    for (const connection of this.#connections) connection.drain();
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    clearInterval(this.#sweeper);
    await Promise.all(stopped);
  }

  #onConnection(socket: Socket): void {
    this.#connectionsTotal++;
    const connectionsMax = this.#options.connectionsMax ?? limits.hostConnectionsMax;
    if (this.#connections.size >= connectionsMax && !this.#evictOne()) {
      this.#connectionsRefused++;
      socket.destroy();
      return;
    }
    const { exports, memory } = this.#options;
    const ports = { exports, memory, poller: this.#poller, held: this.#held };
    const connection = new NbdConnection(socket, ports, this.#connectionEvents);
    this.#connections.add(connection);
    this.#haggling.add(connection);
    if (this.#closing !== undefined) connection.drain();
  }

  /** Makes room for a newcomer at the cost of whoever has haggled longest, so that idlers cannot lock hosts out. */
  #evictOne(): boolean {
    const [oldest] = this.#haggling;
    if (oldest === undefined) return false;
    this.#haggling.delete(oldest);
    this.#connections.delete(oldest);
    oldest.close("it had to make room for another connection");
    return true;
  }

  #onClose(connection: NbdConnection, violation: string | undefined): void {
    this.#connections.delete(connection);
    this.#haggling.delete(connection);
    this.#requestsOfClosed += connection.requestsTotal;
    if (connection.volume !== undefined) {
      const { group, name } = connection.volume;
      const why =
        violation === undefined ? connection.remote : `${connection.remote}: ${violation}`;
      this.#options.events?.emit({ kind: "host-disconnected", group, volume: name, why });
    }
    if (violation !== undefined) this.#report(connection, violation);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #report(connection: NbdConnection, violation: string): void {
    this.#violations++;
    if (this.#reportsLeft === 0) return;
    this.#reportsLeft--;
    const message = `the NBD connection from ${connection.remote} was closed: ${violation}`;
    this.#options.onError(new AppError("failed", message));
  }

  #sweep(): void {
    this.#reportsLeft = limits.nbdReportsPerSweepMax;
    const nowMs = performance.now();
    for (const connection of this.#connections) connection.sweep(nowMs);
  }
}
