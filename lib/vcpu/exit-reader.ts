import type { AccessSize } from '../../devices/bus.ts';
import type { NativeBuffer } from '../ffi/native-buffer.ts';
import { KVM_EXIT_IO_OUT } from '../kvm/exits.ts';
import { kvm_run } from '../kvm/structs.ts';

/** What guest accesses are dispatched to: the port bus, the memory bus. */
export interface AddressSpace {
  read(address: number, size: AccessSize): number;
  write(address: number, size: AccessSize, value: number): void;
}

const EXIT_REASON = kvm_run.offset.exit_reason;
const IO_DIRECTION = kvm_run.offset['io.direction'];
const IO_SIZE = kvm_run.offset['io.size'];
const IO_PORT = kvm_run.offset['io.port'];
const IO_COUNT = kvm_run.offset['io.count'];
const IO_DATA_OFFSET = kvm_run.offset['io.data_offset'];
const MMIO_ADDRESS = kvm_run.offset['mmio.phys_addr'];
const MMIO_DATA = kvm_run.offset['mmio.data'];
const MMIO_LENGTH = kvm_run.offset['mmio.len'];
const MMIO_IS_WRITE = kvm_run.offset['mmio.is_write'];

/** Exits by kind, under Firecracker's names. */
export class ExitCounters {
  exit_io_in = 0;
  exit_io_out = 0;
  exit_mmio_read = 0;
  exit_mmio_write = 0;
}

/** Reads a vCPU's `kvm_run`, and does the accesses that it describes. Allocates nothing. */
export class ExitReader {
  readonly #view: DataView;
  readonly #counters: ExitCounters;

  constructor(run: NativeBuffer, counters = new ExitCounters()) {
    this.#view = run.view;
    this.#counters = counters;
  }

  /** `KVM_EXIT_*` */
  get reason(): number {
    return this.#view.getUint32(EXIT_REASON, true);
  }

  /** `KVM_EXIT_IO`: one port, and one item or, for string instructions, many. */
  doPortAccess(ports: AddressSpace): void {
    const view = this.#view;
    const size = view.getUint8(IO_SIZE) as AccessSize;
    const port = view.getUint16(IO_PORT, true);
    const count = view.getUint32(IO_COUNT, true);
    let data = view.getUint32(IO_DATA_OFFSET, true);
    const out = view.getUint8(IO_DIRECTION) === KVM_EXIT_IO_OUT;
    if (out) this.#counters.exit_io_out++;
    else this.#counters.exit_io_in++;
    for (let i = 0; i < count; i++, data += size) {
      if (out) ports.write(port, size, this.#get(data, size));
      else this.#set(data, size, ports.read(port, size));
    }
  }

  /** `KVM_EXIT_MMIO`: up to 8 bytes; KVM splits what is longer, and may report odd lengths at page ends. */
  doMemoryAccess(memory: AddressSpace): void {
    const view = this.#view;
    const address = view.getUint32(MMIO_ADDRESS + 4, true) * 0x1_0000_0000 + view.getUint32(MMIO_ADDRESS, true);
    const length = view.getUint32(MMIO_LENGTH, true);
    const write = view.getUint8(MMIO_IS_WRITE) !== 0;
    if (write) this.#counters.exit_mmio_write++;
    else this.#counters.exit_mmio_read++;
    for (let done = 0; done < length; ) {
      const left = length - done;
      const size = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      if (write) memory.write(address + done, size, this.#get(MMIO_DATA + done, size));
      else this.#set(MMIO_DATA + done, size, memory.read(address + done, size));
      done += size;
    }
  }

  #get(offset: number, size: AccessSize): number {
    if (size === 1) return this.#view.getUint8(offset);
    if (size === 2) return this.#view.getUint16(offset, true);
    return this.#view.getUint32(offset, true);
  }

  #set(offset: number, size: AccessSize, value: number): void {
    if (size === 1) this.#view.setUint8(offset, value);
    else if (size === 2) this.#view.setUint16(offset, value, true);
    else this.#view.setUint32(offset, value, true);
  }
}
