import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Clock } from "#ports/clock.ts";
import type { Crypto } from "#ports/crypto.ts";
import type { Events, Trace } from "#ports/events.ts";
import type { Folder } from "#ports/file.ts";
import type { Packing } from "#ports/packing.ts";
import type { Transport } from "#ports/transport.ts";

/** Everything that a site needs from the world. `io/` gives the real ones, the simulator its own. */
export type SitePorts = {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly transport: Transport;
  readonly packing: Packing;
  readonly events: Events;
  readonly trace: Trace | undefined;
  /** Changes with every boot of the machine: tells a power loss from a mere kill. Empty when it cannot be known. */
  readonly bootId: string;
  /** The folder of a group's metadata, `<data>/<group>`, made when missing. */
  readonly openFolder: (group: string) => Folder | IoFailure;
  /**
   * The folder of a group's log on a path that other machines may reach, too. The path must be there already: a mount that is
   * missing must not be taken for an empty one. `makes`: the group's folder on it is made when missing, and so are its files.
   */
  readonly openLogFolder: (path: string, group: string, makes: boolean) => Folder | IoFailure;
  /**
   * Opens a volume's image at this site, a sparse file of `bytes` bytes made when missing, or the device that the
   * configuration names. A failure when it is there with another size. Once the group is on record, it is not made any more:
   * zeros would be taken for what the volume held. And it may be larger: somebody grew the device, or a growth ended before it
   * was on record.
   */
  readonly openImage: (group: string, volume: string, size: ImageSize) => BlockDevice | IoFailure;
};

/** What a volume's image has to hold. */
export type ImageSize = { readonly bytes: number; readonly isOnRecord: boolean };
