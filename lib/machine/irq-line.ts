import type { InterruptLine } from '../../devices/bus.ts';
import { EFD_CLOEXEC, EFD_NONBLOCK, SYS_write } from '../ffi/constants.ts';
import { call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import type { Vm } from '../kvm/vm.ts';
import type { NativeArena } from '../loop/arena.ts';

/** What is added to an eventfd: the u64 1. */
let one: NativeBuffer | undefined;

function oneAddress(): number {
  if (one === undefined) {
    one = new NativeBuffer(8);
    one.setNumber64(0, 1);
  }
  return one.address;
}

/** An interrupt that an eventfd raises (`KVM_IRQFD`): an edge on a GSI. */
export class IrqLine implements InterruptLine {
  readonly gsi: number;
  readonly fd: number;
  readonly #arena: NativeArena;

  constructor(vm: Vm, arena: NativeArena, gsi: number) {
    this.gsi = gsi;
    this.#arena = arena;
    this.fd = call('eventfd', `create interrupt ${gsi}`, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    vm.irqfd({ fd: this.fd, gsi });
  }

  trigger(): void {
    this.#arena.invoke(SYS_write, this.fd, oneAddress(), 8);
  }

  close(): void {
    tryCall('close', this.fd);
  }
}
