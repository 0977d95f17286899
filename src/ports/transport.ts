/** Memory of the owner's in which the rest of a long message is received, past the chunks. */
export type Landing = {
  /** Asked before each read; undefined: the next bytes come as a chunk. It stays the owner's until the next question. */
  room(): Uint8Array | undefined;
  /** So many bytes have come to the beginning of that room. */
  landed(bytes: number): void;
};

/** What a connection tells its owner. `onClose` comes exactly once, and nothing after it. */
export type ConnectionEvents = {
  /** Bytes as they came. They stay valid until the owner lets go of them: nobody writes into them again. */
  onData(chunk: Uint8Array): void;
  readonly landing?: Landing;
  onClose(why: string): void;
  /** Everything that was waiting to be sent has been taken by the network. */
  onDrain(): void;
};

/**
 * A byte stream to another site. Neither boundaries nor timely delivery are promised; order is, within one connection.
 */
export type Connection = {
  readonly remote: string;
  /** Queues the chunks and sends what one turn of the loop queued together. They must stay untouched until sent. */
  send(chunks: readonly Uint8Array[]): void;
  /** Bytes queued and not yet taken by the network. */
  queuedBytes(): number;
  /** Stops and restarts the flow of what is received, so that what is unread stays with the sender. */
  pause(): void;
  resume(): void;
  /** Memory for a landing, not cleared. */
  take(bytes: number): Uint8Array;
  /** Chunks that were received and nobody will look at any more: their memory may be used again. Need not be told. */
  giveBack(chunks: readonly Uint8Array[]): void;
  /** Sends what is queued, then ends. `onClose` follows with `why`. */
  end(why: string): void;
  /** Drops everything at once. `onClose` follows with `why`. */
  close(why: string): void;
};

/**
 * Why a dial failed: `refused` means that the machine is there and nobody listens; `unreachable` is everything else.
 */
export type DialFailure = { readonly kind: "refused" | "unreachable"; readonly message: string };

export type Transport = {
  /** Dials an address. Exactly one of `onOpen` and `onFail` is called, never before `dial` has returned. */
  dial(
    address: string,
    timeoutMs: number,
    handlers: {
      onOpen(connection: Connection): ConnectionEvents;
      onFail(failure: DialFailure): void;
    },
  ): void;
};
