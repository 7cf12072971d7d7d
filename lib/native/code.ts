import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from '../ffi/constants.ts';
import { bindCall, call } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { MACHINE_CODE } from './machine-code.ts';
import { ROUTINES, type Routine } from './routines.ts';

const PAGE_SIZE = 4096;
/** Each routine starts on a cache line. */
const CODE_ALIGNMENT = 64;
/** `pthread_once_t` not yet run. */
const PTHREAD_ONCE_INIT = 0;

/** The routines that are called with a block of parameters, which the routine finds by the quadword behind its code. */
export type CallableRoutine = Exclude<Routine, 'vcpu' | 'signal'>;

/** mvm's machine code in one executable page (see the .S files): writable only until it is complete. */
export class NativeCode {
  readonly #page: NativeBuffer;
  readonly #offsets = new Map<Routine, number>();

  /** @param blocks host addresses of the parameter blocks of the callable routines */
  constructor(blocks: Record<CallableRoutine, number>) {
    // A mapping of its own over the buffer: the allocator's pages around it stay as they are.
    this.#page = new NativeBuffer(PAGE_SIZE, PAGE_SIZE);
    const { address } = this.#page;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    call('mmap', 'map a page for machine code', address, PAGE_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
    let offset = 0;
    for (const routine of ROUTINES) {
      const code = Buffer.from(MACHINE_CODE[routine], 'hex');
      this.#page.bytes.set(code, offset);
      if (routine in blocks) this.#page.setNumber64(offset + code.length - 8, blocks[routine as CallableRoutine]);
      this.#offsets.set(routine, offset);
      offset = Math.ceil((offset + code.length) / CODE_ALIGNMENT) * CODE_ALIGNMENT;
    }
    call('mprotect', 'make machine code executable', address, PAGE_SIZE, PROT_READ | PROT_EXEC);
  }

  /** The host address of a routine's first instruction. */
  addressOf(routine: Routine): number {
    return this.#page.address + (this.#offsets.get(routine) as number);
  }
}

/** Calls one routine from JavaScript, on this thread, with what stands in its block. Allocates nothing. */
export class NativeRoutine {
  readonly #once: Int32Array;
  readonly #call: () => number;

  constructor(code: NativeCode, routine: CallableRoutine) {
    const once = new NativeBuffer(64, 64);
    this.#once = new Int32Array(once.buffer, once.base, 1);
    this.#call = bindCall('pthread_once', once.address, code.addressOf(routine));
  }

  run(): void {
    this.#once[0] = PTHREAD_ONCE_INIT;
    this.#call();
  }
}
