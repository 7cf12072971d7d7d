import { NativeBuffer } from '../ffi/native-buffer.ts';

/** Sizes and flags of `lib/native/jail.S`. */
const ENTRY_SIZE = 80;
const MAY_FAIL = 1;
const FORKS = 2;
const NOT_ZERO = 4;
const RESULT = 56;
const STORE = 64;
const FLAGS = 72;

/** What a call gives back, as an argument of one later call. */
export class CallResult {
  readonly index: number;

  constructor(index: number) {
    this.index = index;
  }
}

/** The address of the memory of the calls at which the id of a process is stored. */
export const PROCESS_ID = Symbol('process id');

/** A number; a text or bytes, passed by address; addresses of texts; an earlier call's result. */
export type CallArgument = number | string | Uint8Array | readonly string[] | CallResult | typeof PROCESS_ID;

interface Entry {
  readonly purpose: string;
  readonly number: number;
  readonly args: readonly CallArgument[];
  readonly flags: number;
  readonly child: CallList | undefined;
}

/** A call that failed: what it was for, and its errno. */
export interface FailedCall {
  readonly purpose: string;
  readonly errno: number;
}

/** System calls that another process makes, one after the other, as far as they succeed. */
export class CallList {
  readonly entries: Entry[] = [];

  /** @param purpose what the call is for, as in «cannot …» */
  add(purpose: string, number: number, ...args: CallArgument[]): CallResult {
    return this.#push({ purpose, number, args, flags: 0, child: undefined });
  }

  /** A call whose failure does not matter. */
  try(number: number, ...args: CallArgument[]): void {
    this.#push({ purpose: '', number, args, flags: MAY_FAIL, child: undefined });
  }

  /** Waits for a byte at a descriptor: a call that also fails where there is none, and none will come. */
  waitFor(purpose: string, number: number, ...args: CallArgument[]): void {
    this.#push({ purpose, number, args, flags: NOT_ZERO, child: undefined });
  }

  /** A clone(2) whose child makes the calls of another list. */
  fork(purpose: string, number: number, child: CallList, ...args: CallArgument[]): void {
    this.#push({ purpose, number, args, flags: FORKS, child });
  }

  #push(entry: Entry): CallResult {
    this.entries.push(entry);
    return new CallResult(this.entries.length - 1);
  }
}

/** Lists of calls as they lie in memory. It has to stay until who makes the calls has ended. */
export class CompiledCalls {
  readonly #memory: NativeBuffer;
  readonly #lists: { readonly list: CallList; readonly offset: number }[] = [];
  #end = 0;

  constructor(list: CallList) {
    this.#memory = new NativeBuffer(64 + sizeOf(list), 64);
    this.#allocate(8);
    this.#write(list);
  }

  /** Host address of the first list's first entry. */
  get address(): number {
    return this.#memory.address + this.#lists[0]!.offset;
  }

  /** What was stored at `PROCESS_ID`; 0: nothing yet. */
  get processId(): number {
    return Atomics.load(new Int32Array(this.#memory.buffer, this.#memory.base, 1), 0);
  }

  /** The first call that failed, of each process. */
  get failures(): FailedCall[] {
    return this.#lists.flatMap(({ list, offset }) => {
      const index = list.entries.findIndex(({ flags }, i) => (flags & MAY_FAIL) === 0 && this.#result(offset, i) < 0);
      return index < 0 ? [] : [{ purpose: list.entries[index]!.purpose, errno: -this.#result(offset, index) }];
    });
  }

  release(): void {
    this.#memory.release();
  }

  #result(offset: number, index: number): number {
    return this.#memory.getNumber64(offset + index * ENTRY_SIZE + RESULT);
  }

  #write(list: CallList): number {
    const memory = this.#memory;
    const offset = this.#allocate((list.entries.length + 1) * ENTRY_SIZE);
    this.#lists.push({ list, offset });
    for (const [index, { number, args, flags, child }] of list.entries.entries()) {
      const at = offset + index * ENTRY_SIZE;
      memory.setNumber64(at, number);
      memory.setNumber64(at + FLAGS, flags);
      if (child !== undefined) memory.setNumber64(at + STORE, memory.address + this.#write(child));
      for (const [position, argument] of args.entries()) {
        const place = at + 8 + position * 8;
        if (argument instanceof CallResult) {
          memory.setNumber64(offset + argument.index * ENTRY_SIZE + STORE, memory.address + place);
        } else memory.setNumber64(place, this.#valueOf(argument));
      }
    }
    memory.setNumber64(offset + list.entries.length * ENTRY_SIZE, -1);
    return offset;
  }

  #valueOf(argument: Exclude<CallArgument, CallResult>): number {
    if (typeof argument === 'number') return argument;
    if (argument === PROCESS_ID) return this.#memory.address;
    if (typeof argument === 'string') return this.#memory.address + this.#bytes(Buffer.from(`${argument}\0`));
    if (argument instanceof Uint8Array) return this.#memory.address + this.#bytes(argument);
    // An array of texts ends with a null pointer, as execve(2) wants it.
    const addresses = argument.map((text) => this.#valueOf(text));
    const offset = this.#allocate((addresses.length + 1) * 8);
    for (const [i, address] of addresses.entries()) this.#memory.setNumber64(offset + i * 8, address);
    return this.#memory.address + offset;
  }

  #bytes(bytes: Uint8Array): number {
    const offset = this.#allocate(bytes.length);
    this.#memory.bytes.set(bytes, offset);
    return offset;
  }

  #allocate(size: number): number {
    const offset = this.#end;
    this.#end = offset + Math.ceil(size / 8) * 8;
    return offset;
  }
}

/** Bytes that a list takes in memory, with all that it refers to. */
function sizeOf(list: CallList): number {
  return list.entries.reduce(
    (sum, { args, child }) =>
      sum + (child === undefined ? 0 : sizeOf(child)) + args.reduce<number>((size, one) => size + argumentSize(one), 0),
    (list.entries.length + 1) * ENTRY_SIZE,
  );
}

function argumentSize(argument: CallArgument): number {
  if (typeof argument === 'string') return Buffer.byteLength(argument) + 8;
  if (argument instanceof Uint8Array) return argument.length + 8;
  if (Array.isArray(argument)) return argument.reduce<number>((size, text) => size + argumentSize(text) + 8, 8);
  return 0;
}
