import { limits } from "#base/limits.ts";

/** Where a site listens or is dialled: `host:port`, `[v6]:port` or `unix:/path`. */
export type Address =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export type AddressParsed =
  | { readonly ok: true; readonly address: Address }
  | { readonly ok: false; readonly reason: string; readonly hint: string };

const tcpForm = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})$/;

/** Understands an address. Port 0 is refused: the other sites and the commands have to find it. */
export function parseAddress(text: string): AddressParsed {
  const hint = "write host:port such as 127.0.0.1:7101, [::1]:7101, or unix:/path";
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") return { ok: false, reason: `${JSON.stringify(text)} names no socket`, hint };
    if (new TextEncoder().encode(path).length <= limits.unixPathBytesMax) {
      return { ok: true, address: { kind: "unix", path } };
    }
    return {
      ok: false,
      reason: `the socket's path ${path} is longer than the ${limits.unixPathBytesMax} bytes that Linux takes`,
      hint: "choose a shorter folder, such as /run/antipode",
    };
  }
  const match = tcpForm.exec(text);
  if (match === null) {
    return { ok: false, reason: `${JSON.stringify(text)} is not an address`, hint };
  }
  const port = Number(match[3]);
  if (port < 1 || port > 65_535) {
    return { ok: false, reason: `port ${match[3]} is not between 1 and 65535`, hint };
  }
  return {
    ok: true,
    address: { kind: "tcp", host: (match[1] ?? match[2] ?? "").toLowerCase(), port },
  };
}

/** The address as it is written. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}

/**
 * Whether nobody beyond this machine can reach the address. A name other than `localhost` is not trusted to be local.
 */
export function isLocal(address: Address): boolean {
  if (address.kind === "unix") return true;
  return isLoopbackHost(address.host);
}

/** `localhost`, 127.0.0.0/8 and ::1. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** An address that stands for all of a machine's own: good to listen on, not to dial. */
export function isWildcard(address: Address): boolean {
  return address.kind === "tcp" && (address.host === "0.0.0.0" || /^[0:]+$/.test(address.host));
}

/** Whether two addresses of one machine cannot both be listened on. */
export function overlaps(a: Address, b: Address): boolean {
  if (a.kind === "unix" || b.kind === "unix") {
    return a.kind === "unix" && b.kind === "unix" && a.path === b.path;
  }
  if (a.port !== b.port) return false;
  if (isWildcard(a) || isWildcard(b)) return true;
  return canonicalHost(a.host) === canonicalHost(b.host);
}

/**
 * Whether two sites' peer addresses say that the sites share a machine. One file serves all machines, so two sites may
 * well listen on the same loopback port or use the same folder, as long as they do so on different machines.
 */
export function onOneMachine(a: Address, b: Address): boolean {
  if (isLocal(a) && isLocal(b)) return true;
  return a.kind === "tcp" && b.kind === "tcp" && canonicalHost(a.host) === canonicalHost(b.host);
}

function canonicalHost(host: string): string {
  return host === "localhost" ? "127.0.0.1" : host;
}
