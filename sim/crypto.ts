import { createHmac, createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import type { Crypto } from "#ports/crypto.ts";
import type { Prng } from "./prng.ts";

/** Randomness from the seed, a true HMAC, and a hash that is good enough to tell regions of two images apart. */
export function createSimCrypto(rng: Prng): Crypto {
  return {
    randomBytes(count) {
      const bytes = new Uint8Array(count);
      for (let i = 0; i < count; i += 1) bytes[i] = rng.u32() & 0xff;
      return bytes;
    },
    hmacSha256: (key, message) =>
      new Uint8Array(createHmac("sha256", keyObject(key)).update(message).digest()),
    hash64,
  };
}

const keyObjects = new WeakMap<Uint8Array, KeyObject>();

/** Making it costs several times as much as what is done with it, and a world's sites greet each other often. */
function keyObject(key: Uint8Array): KeyObject {
  let made = keyObjects.get(key);
  if (made === undefined) keyObjects.set(key, (made = createSecretKey(key)));
  return made;
}

function hash64(bytes: Uint8Array): bigint {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  let at = 0;
  if (bytes.byteOffset % 4 === 0) {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    for (let i = 0; i < words.length; i += 1) {
      const word = words[i] as number;
      low = Math.imul(low ^ word, 0x85ebca6b);
      high = Math.imul(high ^ word ^ (low >>> 15), 0xc2b2ae35);
    }
    at = words.length * 4;
  }
  for (; at < bytes.length; at += 1) {
    low = Math.imul(low ^ (bytes[at] as number), 0x85ebca6b);
    high = Math.imul(high ^ (bytes[at] as number) ^ (low >>> 15), 0xc2b2ae35);
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
