import { parseAddress } from "./addresses.ts";

/** An NBD server's export, as a volume's place names it. */
export type DeviceUri = {
  /** What to dial: `host:port` or `unix:/path`. */
  readonly dial: string;
  readonly name: string;
};

export type DeviceUriParsed =
  | { readonly ok: true; readonly uri: DeviceUri }
  | { readonly ok: false; readonly reason: string; readonly hint: string };

const hint = "write nbd://host:port/name, or nbd+unix:///name?socket=/path";
const standardPort = 10_809;

/** Whether a volume's place is an NBD server, and not a path. */
export function isDeviceUri(place: string): boolean {
  return /^nbds?(\+\w+)?:\/\//.test(place);
}

/** Understands the address of an NBD export, in the form of the project's own `doc/uri.md`. */
export function parseDeviceUri(text: string): DeviceUriParsed {
  if (!URL.canParse(text)) return refused(text, "is no address of an NBD export");
  const url = new URL(text);
  if (url.protocol !== "nbd:" && url.protocol !== "nbd+unix:")
    return refused(text, "asks for a transport that is not in this version");
  const dial =
    url.protocol === "nbd:" ? tcpOf(url) : `unix:${url.searchParams.get("socket") ?? ""}`;
  const address = parseAddress(dial);
  if (!address.ok) return { ok: false, reason: address.reason, hint };
  try {
    return { ok: true, uri: { dial, name: decodeURIComponent(url.pathname.replace(/^\//, "")) } };
  } catch {
    return refused(text, "has a name that cannot be read"); // A stray % is all that it can mean.
  }
}

function tcpOf({ hostname, port }: URL): string {
  return `${hostname}:${port === "" ? standardPort : port}`;
}

function refused(text: string, reason: string): DeviceUriParsed {
  return { ok: false, reason: `${text} ${reason}`, hint };
}
