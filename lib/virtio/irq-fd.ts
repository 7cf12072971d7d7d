import type { InterruptLine } from '../../devices/bus.ts';
import { EFD_CLOEXEC, EFD_NONBLOCK, SYS_write } from '../ffi/constants.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { Vm } from '../kvm/vm.ts';
import type { NativeArena } from '../loop/arena.ts';

/** What is added to an eventfd: the u64 1. */
let one: NativeBuffer | undefined;

function addressOfOne(): number {
  if (one === undefined) {
    one = new NativeBuffer(8);
    one.setNumber64(0, 1);
  }
  return one.address;
}

/**
 * An interrupt that leaves with the loop's next batch of system calls, by an eventfd that KVM watches (`KVM_IRQFD`): an edge on a GSI.
 *
 * Edges in one batch are one edge, as no guest could tell them apart. Allocates nothing.
 */
export class IrqFd implements InterruptLine {
  readonly gsi: number;
  readonly #fd: number;
  readonly #arena: NativeArena;
  readonly #one = addressOfOne();
  /** The arena's batch in which the write stands. */
  #batch = -1;

  constructor(vm: Vm, arena: NativeArena, gsi: number) {
    this.gsi = gsi;
    this.#arena = arena;
    this.#fd = call('eventfd', `create interrupt ${gsi}`, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    vm.irqfd({ fd: this.#fd, gsi });
  }

  trigger(): void {
    const arena = this.#arena;
    if (this.#batch === arena.batch) return;
    arena.post(SYS_write, this.#fd, this.#one, 8);
    this.#batch = arena.batch;
  }

  close(): void {
    tryCall('close', this.#fd);
  }
}
