import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';
import { adler32, printedLines } from './guest-text.ts';
import { EXECUTABLE } from './mvm.ts';

/** What a bare-metal guest's console took, in cycles of the time stamp counter. */
export interface ConsoleRun {
  readonly printed: number;
  readonly read: number;
}

/**
 * Runs the guest `console` between two files in `folder`: prints and reads so many KiB.
 * @throws Error where a byte was lost, changed or out of place on either way
 */
export function runConsoleGuest(
  folder: string,
  device: 'serial' | 'virtio',
  { printKib, readKib }: { printKib: number; readKib: number },
): ConsoleRun {
  const typed = printedLines(readKib);
  const input = join(folder, 'typed');
  const output = join(folder, 'printed');
  writeFileSync(input, typed);
  const stdin = openSync(input, 'r');
  const stdout = openSync(output, 'w');
  const cmdline = `device=${device} print=${printKib} read=${readKib}`;
  const machine = ['--kernel', buildGuest('console'), '--memory', '32M', '--cmdline', cmdline];
  try {
    execFileSync(EXECUTABLE, ['run', ...machine, '--console', device], { stdio: [stdin, stdout, 'inherit'] });
  } finally {
    closeSync(stdin);
    closeSync(stdout);
  }
  const expected = printedLines(printKib);
  const text = readFileSync(output);
  if (!text.subarray(0, expected.length).equals(expected))
    throw new Error('what the guest printed is not what came out');
  const result = /^printed in (\d+) cycles, read in (\d+) cycles, Adler-32 (\d+)\r?\n$/.exec(
    text.toString('latin1', expected.length),
  );
  if (result === null || Number(result[3]) !== adler32(typed))
    throw new Error('what the guest read is not what went in');
  return { printed: Number(result[1]), read: Number(result[2]) };
}
