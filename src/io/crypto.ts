import { createHmac, randomBytes } from "node:crypto";
import xxhash from "xxhash-wasm";
import type { Crypto } from "#ports/crypto.ts";

/** Node's cryptography, and XXH64 with seed 0 for `hash64`. A promise, since WebAssembly loads in the background. */
export async function loadCrypto(): Promise<Crypto> {
  const { h64Raw } = await xxhash();
  return {
    randomBytes: (count) => randomBytes(count),
    hmacSha256: (key, message) => createHmac("sha256", key).update(message).digest(),
    hash64: (bytes) => h64Raw(bytes),
  };
}
