import net, { type Server, type Socket } from "node:net";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { type Address, formatAddress, parseAddress } from "#config/addresses.ts";
import type { Connection, ConnectionEvents } from "#ports/transport.ts";
import { bind } from "./bind.ts";
import { createConnection } from "./connection.ts";
import { adopt, createIntake } from "./receive.ts";
import { ReceivedMemory } from "./received-memory.ts";

export type ListenOptions = {
  /** `host:port`, `[v6]:port` or `unix:/path`. Port 0 lets the machine choose one. */
  readonly address: string;
  /** Connections at a time, `limits.peerConnectionsMax` unless told; more are closed as soon as they come. */
  readonly connectionsMax?: number;
  /** Shared with whoever receives what is sent here; one of its own unless told. */
  readonly memory?: ReceivedMemory;
  readonly onConnection: (connection: Connection) => ConnectionEvents;
  /** Tells of connections that were turned away or could not be accepted; listening goes on. */
  readonly onTrouble: (message: string) => void;
};

export type Listener = {
  /** Where it listens, as one would dial it. */
  readonly address: string;
  /** Stops listening and closes what is connected. Resolves when all of it is gone. */
  close(): Promise<void>;
};

/** What is connected, and for each a promise of its `onClose`. */
type Connections = Map<Connection, Promise<void>>;

/** Accepts the connections of peers, the other end of `Transport.dial`. Rejects with an `AppError` when it cannot. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const address = listenAddressOf(options.address);
  const connections: Connections = new Map();
  const memory = options.memory ?? new ReceivedMemory();
  const server = net.createServer({ pauseOnConnect: true }, (socket) =>
    accept(socket, { ...options, memory }, connections),
  );
  const connectionsMax = options.connectionsMax ?? limits.peerConnectionsMax;
  server.maxConnections = connectionsMax;
  server.on("drop", () => {
    options.onTrouble(`turned a peer's connection away: there are ${connectionsMax} already`);
  });
  const bound = await bind(server, address);
  server.on("error", (error) => options.onTrouble(`could not accept a peer: ${error.message}`));
  return { address: formatAddress(bound), close: () => closeAll(server, connections) };
}

/** Reads an address to listen on: other than in the cluster file, where others must find it, the port may be 0. */
function listenAddressOf(text: string): Address {
  const anyPort = !text.startsWith("unix:") && text.endsWith(":0");
  const parsed = parseAddress(anyPort ? `${text.slice(0, -1)}1` : text);
  if (!parsed.ok) throw new AppError("config", parsed.reason, { hint: parsed.hint });
  const { address } = parsed;
  return anyPort && address.kind === "tcp" ? { ...address, port: 0 } : address;
}

function accept(
  accepted: Socket,
  options: ListenOptions & { readonly memory: ReceivedMemory },
  connections: Connections,
): void {
  const intake = createIntake();
  const socket = adopt(accepted, intake, false);
  const remote = remoteOf(socket);
  createConnection(socket, { remote, memory: options.memory, intake }, (connection) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    connections.set(connection, promise);
    const events = options.onConnection(connection);
    return {
      ...events,
      onClose(why) {
        connections.delete(connection);
        events.onClose(why);
        resolve();
      },
    };
  });
}

async function closeAll(server: Server, connections: Connections): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  const closed = [...connections.values()];
  for (const connection of connections.keys()) connection.close("this side is stopping");
  await Promise.all([promise, ...closed]);
}

function remoteOf(socket: Socket): string {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return "unix";
  return formatAddress({ kind: "tcp", host: remoteAddress, port: remotePort });
}
