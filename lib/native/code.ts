import { writeSync } from 'node:fs';
import { MAP_PRIVATE, MFD_CLOEXEC, PROT_EXEC, PROT_READ, SYS_memfd_create } from '../ffi/constants.ts';
import { bindCall, call, tryCall } from '../ffi/libc.ts';
import { NativeBuffer } from '../ffi/native-buffer.ts';
import { MACHINE_CODE } from './machine-code.ts';
import { nativeFunction } from './module.ts';
import { ROUTINES, type Routine } from './routines.ts';

const PAGE_SIZE = 4096;
/** Each routine starts on a cache line. */
const CODE_ALIGNMENT = 64;
/** What is enough for a node of a binary tree of tsearch(3): a key and two children, none of which there are. */
const TREE_NODE_SIZE = 64;

/** The routines that have a block of parameters, which they find by the quadword behind their code. */
export type CallableRoutine = Exclude<Routine, 'vcpu' | 'signal'>;

/**
 * mvm's machine code in one executable page (see the .S files), which is never writable.
 *
 * The page is a mapping of its own, not one over a SharedArrayBuffer: those lie in the C heap, which node frees and uses
 * again while it ends, when a page that cannot be written kills it.
 */
export class NativeCode {
  readonly #address: number;
  readonly #offsets = new Map<Routine, number>();

  /** @param blocks host addresses of the parameter blocks of the routines that are to be called */
  constructor(blocks: Partial<Record<CallableRoutine, number>>) {
    const page = Buffer.alloc(PAGE_SIZE);
    let offset = 0;
    for (const routine of ROUTINES) {
      const end = offset + page.write(MACHINE_CODE[routine], offset, 'hex');
      const block = blocks[routine as CallableRoutine];
      if (block !== undefined) page.writeBigUInt64LE(BigInt(block), end - 8);
      this.#offsets.set(routine, offset);
      offset = Math.ceil(end / CODE_ALIGNMENT) * CODE_ALIGNMENT;
    }
    const name = new NativeBuffer(8);
    const fd = call('syscall', 'make a page of machine code', SYS_memfd_create, name.address, MFD_CLOEXEC, 0, 0, 0, 0);
    name.release();
    try {
      writeSync(fd, page);
      this.#address = call('mmap', 'map machine code', 0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    } finally {
      tryCall('close', fd);
    }
  }

  /** The host address of a routine's first instruction. */
  addressOf(routine: Routine): number {
    return this.#address + (this.#offsets.get(routine) as number);
  }
}

/** Calls one routine from JavaScript, on this thread, with what stands in its block. Allocates nothing. */
export class NativeRoutine {
  readonly run: () => void;

  /**
   * Through ffi-rs, which calls symbols, twalk(3) is the way: it calls its action once for a tree that is a single leaf, and makes no system
   * call of its own, as pthread_once(3) does.
   * @param often whether it is called so often that a function of its own is worth its making, where the host allows one
   */
  constructor(code: NativeCode, routine: CallableRoutine, often = false) {
    const address = code.addressOf(routine);
    this.run =
      (often ? nativeFunction(address) : undefined) ??
      bindCall('twalk', new NativeBuffer(TREE_NODE_SIZE).address, address);
  }
}
