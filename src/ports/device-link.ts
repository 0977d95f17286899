import type { ReadDone, WriteDone } from "./block-device.ts";
import type { IoFailure } from "#base/errors.ts";

/** What a link tells its owner. `onUp` and the first `onDown` behind it alternate; every failed try is an `onDown` more. */
export type DeviceLinkEvents = {
  /** The device is there and fits. It may have forgotten whatever was not flushed. */
  onUp(): void;
  /** It cannot be had now, and is dialled again. `isRefused`: it is there, and is not what the volume needs. */
  onDown(why: string, isRefused: boolean): void;
};

/**
 * A volume's device that is reached over a link, which may be lost at any time. Nothing is repeated down here: what was under
 * way when the link was lost fails with ENOTCONN, before `onDown`, and may have been done or not.
 *
 * Requests are made while it is up; others fail like those. Several are under way at a time, and the device does them in any
 * order: whoever asks keeps those apart that overlap. Chunks must stay untouched until they are answered.
 */
export type DeviceLink = {
  /** Where the device is, as the cluster file says it. */
  readonly address: string;
  readonly bytes: number;
  isUp(): boolean;
  read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void;
  write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void;
  zero<C>(offset: number, length: number, mayPunch: boolean, context: C, done: WriteDone<C>): void;
  /** Makes what was answered before the call durable. */
  flush(done: (failure: IoFailure | undefined) => void): void;
  /** Gives the connection up, and dials again after a while. */
  drop(why: string): void;
  /** For good. What is under way fails; nobody is told anything more. */
  close(): void;
};
