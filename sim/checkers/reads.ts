import type { Checker } from "../checker.ts";
import { describe } from "../oracle.ts";
import type { World } from "../world.ts";

/**
 * Time does not go backward for a reader (N2, U24): what an earlier process of the primary left half done is shown to no host
 * before every copy that is fed has the same there. (That reads never show what was lost, the oracle checks at each read.)
 */
export function readChecker(world: World): Checker {
  return {
    ids: ["N2"],
    onUnansweredSeen(write, sector, status, line) {
      for (const copy of status.copies) {
        if (copy.state !== "resync" && copy.state !== "synchronized") continue;
        // Who was away when this reign began, or had no whole image, is promoted by force at most.
        if (!line.promotableAtStart.has(copy.site)) continue;
        // What it has lost with its power, no sync had covered.
        if (line.of(copy.site).powerLostAt >= 0) continue;
        world.count("checks:N2");
        const held = world.imagesOf(copy.site, line).held(write.volume, sector);
        const candidates = line.oracle.candidates(write.volume, sector, held);
        if (candidates.some((one) => one === write || !line.oracle.isSurelyOlder(one, write)))
          continue;
        world.report(
          "N2",
          `a read shows ${describe(write)}, never answered, while ${copy.site} (${copy.state}) ` +
            `still holds something older in sector ${sector}: were it promoted, the read would be undone`,
        );
      }
    },
  };
}
