/**
 * What a driver can do that a device does not go on after: it then asks for a reset (virtio 1.2 section 2.1.2, DEVICE_NEEDS_RESET).
 *
 * Numbers, not exceptions: they arise on the hot path, from a guest that may be hostile.
 */
export const Fault = {
  None: 0,
  /** A queue's size is 0, above the maximum, or not a power of two. */
  QueueSize: 1,
  /** A part of a queue is not aligned as section 2.7 asks. */
  QueueAlignment: 2,
  /** A part of a queue is not RAM. */
  QueueAddress: 3,
  /** `avail->idx` says that more buffers are available or in use than the queue has descriptors. */
  AvailIndex: 4,
  /** An entry of the available ring names a descriptor that does not exist. */
  AvailEntry: 5,
  /** `next` names a descriptor that does not exist. */
  DescriptorNext: 6,
  /** A chain is longer than the queue, or loops. */
  ChainLength: 7,
  /** A chain describes more than 2³² − 1 bytes. */
  ChainBytes: 8,
  /** A buffer is not RAM. */
  BufferAddress: 9,
  /** A buffer of no bytes. */
  BufferLength: 10,
  /** A buffer for the device to read after one for it to write. */
  BufferOrder: 11,
  /** An indirect descriptor although the feature was not negotiated. */
  IndirectFeature: 12,
  /** A descriptor that is indirect and has a successor. */
  IndirectNext: 13,
  /** An indirect descriptor in an indirect table. */
  IndirectNested: 14,
  /** An indirect table of no bytes, or not a multiple of a descriptor's size. */
  IndirectLength: 15,
  /** An indirect table that is not RAM. */
  IndirectAddress: 16,
  /** A chain was made available while the device still has it. */
  ChainInUse: 17,
  /** A request without the header that its device expects. */
  RequestHeader: 18,
  /** A request with no room for its answer. */
  RequestAnswer: 19,
} as const;

export type Fault = (typeof Fault)[keyof typeof Fault];

const TEXTS: Record<keyof typeof Fault, string> = {
  None: 'nothing is wrong',
  QueueSize: 'queue size out of range or not a power of two',
  QueueAlignment: 'queue not aligned',
  QueueAddress: 'queue outside memory',
  AvailIndex: 'more buffers available than the queue has descriptors',
  AvailEntry: 'available ring names no descriptor',
  DescriptorNext: 'descriptor chain leads out of its table',
  ChainLength: 'descriptor chain longer than the queue',
  ChainBytes: 'descriptor chain of more than 4 GiB',
  BufferAddress: 'buffer outside memory',
  BufferLength: 'buffer of zero bytes',
  BufferOrder: 'readable buffer after a writable one',
  IndirectFeature: 'indirect descriptor without the feature',
  IndirectNext: 'indirect descriptor with a successor',
  IndirectNested: 'indirect table in an indirect table',
  IndirectLength: 'indirect table of a wrong length',
  IndirectAddress: 'indirect table outside memory',
  ChainInUse: 'descriptor chain made available twice',
  RequestHeader: 'request without a complete header',
  RequestAnswer: 'request without room for its answer',
};

const BY_NUMBER: readonly string[] = (Object.keys(Fault) as (keyof typeof Fault)[]).map((name) => TEXTS[name]);

/** A fault in words, without a capital letter or full stop. */
export function faultText(fault: Fault): string {
  return BY_NUMBER[fault]!;
}

/** Milliseconds between two warnings of one device: a guest can fault and reset as fast as it likes. */
const WARNING_INTERVAL = 10_000;

/** Counts the faults of one device, and warns of them no oftener than the log can bear. */
export class FaultLog {
  readonly #name: string;
  readonly #warn: (message: string) => void;
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;
  #unsaid = 0;
  /** Faults since start. */
  count = 0;

  /**
   * @param name of the device, as the user knows it
   * @param warn takes one line
   * @param now milliseconds of a clock that never goes back
   */
  constructor(name: string, warn: (message: string) => void, now: () => number = () => performance.now()) {
    this.#name = name;
    this.#warn = warn;
    this.#now = now;
  }

  report(fault: Fault): void {
    this.count++;
    const now = this.#now();
    if (now - this.#last < WARNING_INTERVAL) {
      this.#unsaid++;
      return;
    }
    const unsaid = this.#unsaid === 0 ? '' : ` (and ${this.#unsaid} faults before it)`;
    this.#last = now;
    this.#unsaid = 0;
    this.#warn(`${this.#name}: the guest's driver is at fault, the device needs a reset: ${faultText(fault)}${unsaid}`);
  }
}
