// Sparse content of a simulated file. A clone shares its pages with the original until one of the two writes: cloning a
// whole world costs a few map copies (PROOF §4.2, cloned worlds).

export const pageBytes = 4096;

type Page = { readonly bytes: Uint8Array<ArrayBuffer>; readonly keeper: object };

export type Pages = {
  readonly byIndex: Map<number, Page>;
  /** Only pages that carry this very object may be written in place; all others are shared with a clone. */
  keeper: object;
};

export function createPages(): Pages {
  return { byIndex: new Map(), keeper: {} };
}

/** The same content, from now on independent of the original. */
export function clonePages(pages: Pages): Pages {
  pages.keeper = {};
  return { byIndex: new Map(pages.byIndex), keeper: {} };
}

export function readPages(pages: Pages, offset: number, into: Uint8Array): void {
  for (let done = 0; done < into.length;) {
    const at = offset + done;
    const within = at % pageBytes;
    const take = Math.min(pageBytes - within, into.length - done);
    const page = pages.byIndex.get((at - within) / pageBytes);
    if (page === undefined) into.fill(0, done, done + take);
    else into.set(page.bytes.subarray(within, within + take), done);
    done += take;
  }
}

export function writePages(pages: Pages, offset: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    const at = offset + done;
    const within = at % pageBytes;
    const take = Math.min(pageBytes - within, bytes.length - done);
    ownPage(pages, (at - within) / pageBytes).set(bytes.subarray(done, done + take), within);
    done += take;
  }
}

/** Whole pages are dropped; what is left at both ends is filled. */
export function zeroPages(pages: Pages, offset: number, length: number): void {
  for (let at = offset; at < offset + length;) {
    const within = at % pageBytes;
    const take = Math.min(pageBytes - within, offset + length - at);
    const index = (at - within) / pageBytes;
    if (take === pageBytes) pages.byIndex.delete(index);
    else if (pages.byIndex.has(index)) ownPage(pages, index).fill(0, within, within + take);
    at += take;
  }
}

/** Turns a bit over, as a disk does at rest; where there are only zeros, there is a page from then on. */
export function flipPageBit(pages: Pages, at: number): void {
  const page = ownPage(pages, Math.floor(at / pageBytes));
  const within = at % pageBytes;
  page[within] = (page[within] ?? 0) ^ 1;
}

/** How many pages a write would have to add: what it needs of a disk's free space. */
export function missingPages(pages: Pages, offset: number, length: number): number {
  let missing = 0;
  const last = Math.floor((offset + Math.max(length, 1) - 1) / pageBytes);
  for (let index = Math.floor(offset / pageBytes); index <= last; index += 1) {
    if (!pages.byIndex.has(index)) missing += 1;
  }
  return missing;
}

/** The bytes of one page, not to be changed; undefined where there are only zeros. */
export function pageAt(pages: Pages, index: number): Uint8Array | undefined {
  return pages.byIndex.get(index)?.bytes;
}

function ownPage(pages: Pages, index: number): Uint8Array {
  const page = pages.byIndex.get(index);
  if (page !== undefined && page.keeper === pages.keeper) return page.bytes;
  const bytes = page === undefined ? new Uint8Array(pageBytes) : page.bytes.slice();
  pages.byIndex.set(index, { bytes, keeper: pages.keeper });
  return bytes;
}
