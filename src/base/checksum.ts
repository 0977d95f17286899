import { crc32c as nativeCrc32c } from "@node-rs/crc32";

/**
 * CRC32C (Castagnoli, RFC 3720 appendix B.4) of the bytes, 0 to 2^32 - 1. `seed` is the checksum of what went before,
 * so that `crc32c(b, crc32c(a))` is the checksum of `a` followed by `b`.
 */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  return nativeCrc32c(bytes, seed);
}

/** CRC32C of chunks one behind the other, without joining them. The checksum of no chunks is `seed`. */
export function crc32cChunks(chunks: readonly Uint8Array[], seed = 0): number {
  let checksum = seed;
  for (const chunk of chunks) checksum = nativeCrc32c(chunk, checksum);
  return checksum;
}
