/** What a connection tells its owner. `onClose` comes exactly once, and nothing after it. */
export type ConnectionEvents = {
  /** Bytes as they came. They stay valid until the owner lets go of them: nobody writes into them again. */
  onData(chunk: Uint8Array): void;
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
  /** Stops and restarts the flow of `onData`, so that what is unread stays with the sender. */
  pause(): void;
  resume(): void;
  /** Chunks that `onData` brought and nobody will look at any more: their memory may be used again. Need not be told. */
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
