import { resolve } from "node:path";
import type { ConfigOutcome } from "#config/parse.ts";
import { parseConfig } from "#config/parse.ts";

/** A cluster file that has nothing wrong with it, to be changed by tests. */
export const good = `cluster: example
sites:
  east:
    peer: 127.0.0.1:7101
    api: 127.0.0.1:7201
    nbd: 127.0.0.1:10809
    data: ./east
    reach: { west: 127.0.0.1:9001 }
  west: { peer: 127.0.0.1:7102, api: 127.0.0.1:7202, data: ./west }
  vault: { peer: 127.0.0.1:7103, api: "unix:./vault.sock", data: ./vault }
groups:
  bank:
    primary: east
    volumes:
      data: { size: 1GiB }
      log: { size: 256MiB, at: { east: /dev/vg0/banklog } }
    copies:
      west: { mode: sync }
`;

/** As if the file lay in /etc/antipode. */
export function parse(text: string): ConfigOutcome {
  return parseConfig({
    path: "antipode.yaml",
    text,
    resolvePath: (path) => resolve("/etc/antipode", path),
  });
}

/** Problems as `LINE PLACE: REASON | HINT`, one for each. */
export function problemsOf(text: string): readonly string[] {
  const outcome = parse(text);
  if (outcome.ok) return [];
  return outcome.problems.map(
    ({ line, place, reason, hint }) => `${line} ${place}: ${reason} | ${hint ?? ""}`,
  );
}
