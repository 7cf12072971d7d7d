import { EEXIST, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLET, EPOLLIN } from '../ffi/constants.ts';
import { SystemError } from '../ffi/errors.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { KVM_IOEVENTFD_FLAG_DATAMATCH, KVM_IOEVENTFD_FLAG_DEASSIGN } from '../kvm/structs.ts';
import type { Vm } from '../kvm/vm.ts';
import type { EventLoop, Watch } from '../loop/event-loop.ts';

/** How a guest notifies a queue: a write of any value of `size` bytes (0: any size), or, with `match`, of that value. */
export interface NotifyPlace {
  /** Guest-physical. */
  readonly address: number;
  readonly size: 0 | 4;
  readonly match?: number;
}

interface Notifier {
  readonly fd: number;
  readonly watch: Watch;
  place: NotifyPlace | undefined;
}

/**
 * Turns a device's notifications into eventfds that wake the loop (`KVM_IOEVENTFD`), so that they cause no exit.
 *
 * The loop looks at all rings whenever it is awake, so waking it is all that they have to do. They are made when the driver starts
 * the device: each change waits for the vCPUs to leave what they are reading (SRCU), which a start has no time for.
 */
export class QueueNotifiers {
  readonly #vm: Vm;
  readonly #loop: EventLoop;
  readonly #notifiers: Notifier[] = [];

  constructor(vm: Vm, loop: EventLoop) {
    this.#vm = vm;
    this.#loop = loop;
  }

  /** Catches the notifications of queue n at `places[n]`, and nowhere else. */
  place(places: readonly NotifyPlace[]): void {
    for (const [i, place] of places.entries()) {
      const notifier = this.#notifiers[i] ?? this.#create();
      this.#notifiers[i] = notifier;
      if (samePlace(notifier.place, place)) continue;
      this.#remove(notifier);
      if (this.#assign(notifier.fd, place, 0)) notifier.place = place;
    }
  }

  /** Lets notifications come as exits again. */
  remove(): void {
    for (const notifier of this.#notifiers) this.#remove(notifier);
  }

  close(): void {
    this.remove();
    for (const { fd, watch } of this.#notifiers) {
      watch.close();
      tryCall('close', fd);
    }
    this.#notifiers.length = 0;
  }

  #create(): Notifier {
    const fd = call('eventfd', "catch a guest's notifications", 0, EFD_CLOEXEC | EFD_NONBLOCK);
    return { fd, watch: this.#loop.watch(fd, EPOLLIN | EPOLLET, () => {}), place: undefined };
  }

  #remove(notifier: Notifier): void {
    if (notifier.place === undefined) return;
    this.#assign(notifier.fd, notifier.place, KVM_IOEVENTFD_FLAG_DEASSIGN);
    notifier.place = undefined;
  }

  /** @returns false where another device lies at that address, as a hostile guest may have it: notifications then come as exits */
  #assign(fd: number, { address, size, match }: NotifyPlace, flags: number): boolean {
    const matching = match === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH;
    try {
      this.#vm.ioeventfd({ addr: address, len: size, fd, datamatch: match ?? 0, flags: flags | matching });
      return true;
    } catch (error) {
      if (error instanceof SystemError && error.errno === EEXIST) return false;
      throw error;
    }
  }
}

function samePlace(one: NotifyPlace | undefined, other: NotifyPlace): boolean {
  return one !== undefined && one.address === other.address && one.size === other.size && one.match === other.match;
}
