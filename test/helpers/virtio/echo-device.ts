import type { AccessSize } from '../../../devices/bus.ts';
import { DescriptorChain } from '../../../devices/virtio/chain.ts';
import { ConfigSpace, type VirtioDevice, type VirtioHost } from '../../../devices/virtio/device.ts';
import { Fault } from '../../../devices/virtio/faults.ts';

/** A device for the tests of transports: gives back what it reads, byte by byte, in whatever room there is. */
export class EchoDevice implements VirtioDevice {
  readonly type = 42;
  readonly name = 'echo';
  readonly features = 1n << 5n;
  readonly queueSizes = [64, 16];
  readonly config = new ConfigSpace(12);
  readonly notified: number[] = [];
  readonly resetQueues: number[] = [];
  host: VirtioHost | undefined;
  resets = 0;
  #chain: DescriptorChain | undefined;

  readConfig(offset: number, size: AccessSize): number {
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    if (offset === 0 && size === 4) this.config.view.setUint32(0, value, true);
  }

  activate(host: VirtioHost): void {
    this.host = host;
    this.#chain = new DescriptorChain(host.memory, 64);
  }

  reset(): void {
    this.resets++;
    this.host = undefined;
  }

  resetQueue(queue: number): void {
    this.resetQueues.push(queue);
  }

  notify(index: number): void {
    this.notified.push(index);
    const { host } = this;
    const chain = this.#chain;
    const queue = host?.queues[index];
    if (host === undefined || chain === undefined || queue === undefined) throw new Error('notified while not active');
    while (queue.pop(chain)) {
      if (chain.readableLength === 0) {
        host.needsReset(Fault.RequestHeader);
        return;
      }
      let written = 0;
      while (chain.readableLength > 0 && chain.writableLength > 0) {
        chain.putByte(chain.takeByte());
        written++;
      }
      queue.push(chain.head, written);
    }
    if (queue.publish()) host.interrupt(index);
  }
}
