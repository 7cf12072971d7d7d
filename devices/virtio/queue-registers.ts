import type { QueuePlace } from './queue.ts';

/** What a driver writes to say where a queue lies, before it enables it: the same for all transports. */
export class QueueRegisters implements QueuePlace {
  readonly maxSize: number;
  size: number;
  enabled = false;
  descriptorsLow = 0;
  descriptorsHigh = 0;
  availableLow = 0;
  availableHigh = 0;
  usedLow = 0;
  usedHigh = 0;

  constructor(maxSize: number) {
    this.maxSize = maxSize;
    this.size = maxSize;
  }

  get descriptors(): number {
    return this.descriptorsHigh * 0x1_0000_0000 + this.descriptorsLow;
  }

  get available(): number {
    return this.availableHigh * 0x1_0000_0000 + this.availableLow;
  }

  get used(): number {
    return this.usedHigh * 0x1_0000_0000 + this.usedLow;
  }

  reset(): void {
    this.size = this.maxSize;
    this.enabled = false;
    this.descriptorsLow = 0;
    this.descriptorsHigh = 0;
    this.availableLow = 0;
    this.availableHigh = 0;
    this.usedLow = 0;
    this.usedHigh = 0;
  }
}
