/** Cuts bytes at the places given, wherever they fall. */
export function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length];
  let from = 0;
  return ends
    .toSorted((a, b) => a - b)
    .map((to) => {
      const chunk = bytes.subarray(from, to);
      from = to;
      return chunk;
    });
}
