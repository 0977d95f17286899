import type { ImageView } from "./image-view.ts";
import type { Finding, Oracle } from "./oracle.ts";

/** What no write of the line explains: nobody made it, or a branch that was given up. A few at most. */
export function phantoms(oracle: Oracle, image: ImageView): Finding[] {
  const findings: Finding[] = [];
  image.forEachStored((volume, sector, held) => {
    if (findings.length > 3) return;
    if (held.kind === "alien") {
      findings.push({ id: "I8", message: `${at(image, volume, sector)} holds ${held.what}` });
    } else if (oracle.candidates(volume, sector, held).length === 0) {
      const write = oracle.writes[held.id];
      const why =
        write === undefined ? "which nobody made" : "which is of a branch that was given up";
      findings.push({
        id: write === undefined ? "I8" : "N4",
        message: `${at(image, volume, sector)} holds write ${held.id}, ${why}`,
      });
    }
  });
  return findings;
}

/** A place, in words. */
export function at(image: ImageView, volume: number, sector: number): string {
  return `${image.site} volume ${volume} sector ${sector}`;
}
