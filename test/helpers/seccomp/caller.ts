import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SOCK_FILTER_SIZE } from '../../../lib/seccomp/bpf.ts';

/** A system call to be made under a filter; see caller.c. */
export interface Request {
  /** 32 bits */
  readonly number: number;
  readonly args?: readonly bigint[];
  /** Through the entry of i386, where arguments have 32 bits. */
  readonly compat?: boolean;
}

/** What the kernel did with it. No call took effect. */
export type Outcome =
  | { readonly kind: 'passed' }
  | { readonly kind: 'errno'; readonly errno: number }
  | { readonly kind: 'trapped'; readonly data: number; readonly number: number; readonly arch: number }
  | { readonly kind: 'killed'; readonly signal: number };

export interface CallerRun {
  readonly outcomes: readonly Outcome[];
  /** `seccomp_data.instruction_pointer` of calls that are not `compat`. */
  readonly instructionPointer: bigint;
}

/**
 * uretprobe and uprobe: newer kernels run no filter for them (`seccomp_uprobe_exception`, Linux 6.14). They fail or end
 * the process, unless a probe that root has put there makes them.
 */
export const UNFILTERED: readonly number[] = [335, 336];

/** What the guard in caller.c answers, for a call that the filter under test lets through. */
const GUARD = 4000;
const REQUEST_SIZE = 56;
const OUTCOME_SIZE = 32;
const [RETURNED, TRAPPED, KILLED] = [1, 2, 3];

let program: string | undefined;

function compile(): string {
  if (program !== undefined) return program;
  const directory = mkdtempSync(join(tmpdir(), 'mvm-seccomp-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  program = join(directory, 'caller');
  const source = join(import.meta.dirname, 'caller.c');
  execFileSync('gcc', ['-O1', '-Wall', '-Werror', '-no-pie', '-o', program, source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return program;
}

/** Makes system calls under a filter. @throws where the kernel refuses the filter */
export function callUnder(filter: Uint8Array, requests: readonly Request[]): CallerRun {
  const input = Buffer.alloc(8 + filter.length + requests.length * REQUEST_SIZE);
  input.writeUInt32LE(filter.length / SOCK_FILTER_SIZE, 0);
  input.writeUInt32LE(requests.length, 4);
  input.set(filter, 8);
  for (const [index, { number, args = [], compat = false }] of requests.entries()) {
    const at = 8 + filter.length + index * REQUEST_SIZE;
    input.writeUInt32LE(number, at);
    input.writeUInt32LE(compat ? 1 : 0, at + 4);
    for (const [i, value] of args.entries()) input.writeBigUInt64LE(BigInt.asUintN(64, value), at + 8 + i * 8);
  }
  const output = execFileSync(compile(), { input, maxBuffer: 2 ** 28, stdio: ['pipe', 'pipe', 'pipe'] });
  return {
    instructionPointer: output.readBigUInt64LE(0),
    outcomes: requests.map((_, index) => outcomeAt(output, 8 + index * OUTCOME_SIZE)),
  };
}

function outcomeAt(output: Buffer, at: number): Outcome {
  switch (output.readUInt32LE(at)) {
    case RETURNED: {
      const errno = 0 - Number(output.readBigInt64LE(at + 8));
      return errno === GUARD ? { kind: 'passed' } : { kind: 'errno', errno };
    }
    case TRAPPED:
      return {
        kind: 'trapped',
        data: output.readUInt32LE(at + 16),
        number: output.readUInt32LE(at + 20),
        arch: output.readUInt32LE(at + 24),
      };
    case KILLED:
      return { kind: 'killed', signal: output.readUInt32LE(at + 4) };
    default:
      throw new Error('the call was not made');
  }
}
