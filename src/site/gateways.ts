import { isDrained, neededFrom } from "#core/gateway.ts";
import type { Log } from "#store/log.ts";
import type { GatewayRun } from "./gateway-run.ts";
import type { GroupContext } from "./group-context.ts";

// What the role of a group does with all of its devices behind links: takes them, lets them go, and opens them for the next.

/** By volume: those on devices behind a link. */
export type Gateways = readonly (GatewayRun | undefined)[];

/**
 * Takes the links. `done` is called once something is known of each, with why one does not fit, in words. A device that is
 * merely away is waited for while hosts are served.
 */
export function beginGateways(
  gateways: Gateways,
  log: Log,
  done: (misfit: string | undefined) => void,
): void {
  const all = gateways.filter((gateway) => gateway !== undefined);
  forAll(
    all,
    (one, heard) => one.begin(log, heard),
    () => {
      const misfit = all.find(({ gateway }) => gateway.isRefused)?.gateway;
      done(misfit && `${misfit.volume} cannot lie on ${misfit.address}: ${misfit.why}`);
    },
  );
}

/** Lets go of the devices, once nothing is under way there: the next role must not find writes of this one. */
export function endGateways(gateways: Gateways, done: () => void): void {
  const all = gateways.filter((gateway) => gateway !== undefined);
  forAll(all, (one, ended) => one.end(ended), done);
}

function forAll(
  gateways: readonly GatewayRun[],
  ask: (gateway: GatewayRun, answered: () => void) => void,
  done: () => void,
): void {
  let missing = gateways.length + 1;
  const answered = (): void => {
    missing -= 1;
    if (missing === 0) done();
  };
  for (const gateway of gateways) ask(gateway, answered);
  answered();
}

/** The oldest record of the journal that may still be read back for a device. */
export function neededByDevices(gateways: Gateways): number {
  const needed = gateways.map(
    (one) => (one && neededFrom(one.gateway)) ?? Number.POSITIVE_INFINITY,
  );
  return Math.min(...needed);
}

/** All devices have everything, durably. */
export function areDrained(gateways: Gateways): boolean {
  return gateways.every((one) => one === undefined || isDrained(one.gateway));
}

/** A device that is away and lacks something, in words: its role cannot be given up by plan, for the journal ends with it. */
export function whyNotDrained(gateways: Gateways): string | undefined {
  const away = gateways.find(
    (one) => one !== undefined && !one.gateway.isUp && !isDrained(one.gateway),
  );
  if (away === undefined) return undefined;
  const { volume, address, why } = away.gateway;
  return `the device of ${volume}, ${address}, is away and lacks what the journal here has: ${why}`;
}

/** Opens the devices that gateways had, for a role that has no journal in front of them. Gives why one cannot be. */
export function renewDevices({ images, ports, store }: GroupContext): string | undefined {
  const { group, volumes } = store.record;
  for (const [index, { name, bytes }] of volumes.entries()) {
    const old = images[index];
    if (old?.takeLink === undefined) continue;
    old.close();
    const image = ports.openImage(group, name, { bytes, isOnRecord: true });
    if ("code" in image) return image.message;
    images[index] = image;
  }
  return undefined;
}
