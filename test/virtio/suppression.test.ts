import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { VIRTIO_RING_F_EVENT_IDX, VRING_USED_F_NO_NOTIFY } from '../../devices/virtio/constants.ts';
import { EventLoop } from '../../lib/loop/event-loop.ts';
import { GuestMemory } from '../../lib/memory/guest-memory.ts';
import { VirtioPoller } from '../../lib/virtio/host.ts';
import { Driver, TRANSPORTS, type TransportName } from '../helpers/virtio/driver.ts';
import { EchoDevice } from '../helpers/virtio/echo-device.ts';
import { MmioRegisters } from '../helpers/virtio/mmio-registers.ts';
import { PciRegisters } from '../helpers/virtio/pci-registers.ts';

const BURST = 60;

/** A device on the loop, and a guest that makes a request at each look of the loop, which is awake then. */
class BusyGuest {
  readonly loop = new EventLoop();
  readonly device = new EchoDevice();
  readonly driver: Driver;
  /** Notifications that the device asked for, and interrupts that the guest asked for. */
  kicks = 0;
  interrupts = 0;
  #left = 0;
  #sleeps = 0;
  #finished: (() => void) | undefined;

  constructor(transport: TransportName, eventIndex: boolean) {
    const memory = GuestMemory.plain(1 << 20);
    const poller = new VirtioPoller();
    const core = poller.add(this.device, { memory, warn: () => {} });
    const registers = transport === 'mmio' ? MmioRegisters.over(core) : PciRegisters.over(core);
    this.driver = new Driver({ core, registers }, this.device, memory);
    this.driver.start({ features: eventIndex ? [VIRTIO_RING_F_EVENT_IDX] : [] });
    const sink = core.interrupts!;
    core.interrupts = {
      queue: (index) => {
        this.interrupts++;
        sink.queue(index);
      },
      config: () => sink.config(),
    };
    this.loop.addPoller(poller);
    const listen = () => {
      this.#sleeps++;
      return false;
    };
    this.loop.addPoller({ poll: () => this.#look(), listen });
  }

  /** The guest wakes up, makes so many requests one after the other, and looks at the answers when it has made the last. */
  async burst(): Promise<number> {
    const ring = this.driver.ring();
    if (!ring.eventIndex) ring.setNoInterrupt(true);
    const finished = new Promise<void>((resolve) => {
      this.#finished = resolve;
    });
    // It is no notification that has woken the loop, but a timer of Node's, which this follows.
    this.#left = BURST;
    await finished;
    if (!ring.eventIndex) ring.setNoInterrupt(false);
    return ring.collect().length;
  }

  /** Waits until the loop has had nothing to do, and has slept. */
  async untilAsleep(): Promise<void> {
    const before = this.#sleeps;
    while (this.#sleeps === before) await sleep(10);
  }

  #look(): boolean {
    if (this.#left === 0) {
      // The device has looked since the last request.
      this.#finished?.();
      if (this.#finished !== undefined) this.loop.yieldToNode();
      this.#finished = undefined;
      return false;
    }
    this.#left--;
    const ring = this.driver.ring();
    ring.offer(ring.prepare([{ address: 0x9000, length: 1, writable: false }]));
    if (ring.announce()) this.kicks++;
    return true;
  }
}

for (const transport of TRANSPORTS) {
  for (const eventIndex of [true, false]) {
    test.serial(
      `${transport}: no notifications while the loop is awake, ${eventIndex ? 'with' : 'without'} event indices`,
      async (t) => {
        const guest = new BusyGuest(transport, eventIndex);
        const running = guest.loop.run();
        await guest.untilAsleep();
        try {
          for (let i = 0; i < 3; i++) {
            const { kicks, interrupts } = guest;
            t.is(await guest.burst(), BURST, 'all were found');
            t.true(guest.kicks - kicks <= 1, 'one at most, for the loop slept before');
            t.true(guest.interrupts - interrupts <= 1, 'one at most: the guest has not looked since');
            await guest.untilAsleep();
            const ring = guest.driver.ring();
            if (eventIndex) t.is(ring.availEvent, (i + 1) * BURST, 'it has asked for a notification of the next');
            else t.is(ring.usedFlags, VRING_USED_F_NO_NOTIFY, 'it is awake while this is looked at');
          }
        } finally {
          guest.loop.stop();
          await running;
          guest.loop.close();
        }
      },
    );
  }
}
