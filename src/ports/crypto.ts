/** The few functions of cryptography and hashing that pure code needs. */
export type Crypto = {
  randomBytes(count: number): Uint8Array;
  hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array;
  /** A fast 64-bit hash, to compare regions of two copies. Not against an adversary. */
  hash64(bytes: Uint8Array): bigint;
};
