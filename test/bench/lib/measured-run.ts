import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { busyTime } from './quiet.ts';

/** What a guest printed, and what its VMM took meanwhile. */
export interface MeasuredRun {
  readonly output: string;
  /** CPU time in milliseconds between the guest's lines `start` and `end`: of the vCPU's thread, and of all others of the VMM. */
  readonly cpu: { readonly vcpu: number; readonly others: number };
  /** How much of one CPU everything else on the machine took meanwhile: 1 is all of it. */
  readonly disturbance: number;
}

/** A moment in a run. */
interface Sample {
  readonly time: number;
  readonly busy: number;
  readonly threads: Map<string, number>;
}

/** Milliseconds of CPU that each thread of a process has had: the first number of `schedstat` are nanoseconds (proc_pid_schedstat(5)). */
function threadTimes(pid: number): Map<string, number> {
  const times = new Map<string, number>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const [nanoseconds] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      times.set(thread, Number(nanoseconds) / 1e6);
    } catch {
      // It has just ended.
    }
  }
  return times;
}

/** Threads that come meanwhile count from 0 on; the time of one that goes is lost. */
function difference(before: Map<string, number>, after: Map<string, number>): Map<string, number> {
  return new Map([...after].map(([thread, time]) => [thread, time - (before.get(thread) ?? 0)]));
}

/**
 * Runs a VMM with a guest that prints the lines `settle`, `start` and `end`, pausing (busily, without I/O) behind each, and then its result.
 *
 * The vCPU's thread is the one that was busy between `settle` and `start`, when nothing else was to do.
 * @param ready what is to be done when the guest has printed `ready`; then a byte is typed at it
 * @throws Error with its output where it fails or takes longer than `timeout` milliseconds
 */
export async function measuredRun(
  command: readonly string[],
  { ready, timeout = 60_000 }: { readonly ready?: () => Promise<void>; readonly timeout?: number } = {},
): Promise<MeasuredRun> {
  // Nothing of the caller's environment may cost one of them time: NODE_EXTRA_CA_CERTS, for one, makes Node read certificates.
  const env = { PATH: process.env.PATH, HOME: process.env.HOME };
  const child = spawn(command[0]!, command.slice(1), { stdio: 'pipe', env, timeout });
  const samples = new Map<string, Sample>();
  const take = (mark: string): void => {
    samples.set(mark, { time: performance.now(), busy: busyTime(), threads: threadTimes(child.pid!) });
  };
  let output = '';
  let errors = '';
  let failure: unknown;
  const go = async (): Promise<void> => {
    try {
      await ready!();
      child.stdin.write('\n');
    } catch (error) {
      failure = error;
      child.kill('SIGKILL');
    }
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    for (const mark of ['settle', 'start', 'end']) {
      if (!samples.has(mark) && new RegExp(`^${mark}\\r?$`, 'm').test(output)) take(mark);
    }
    if (ready !== undefined && !samples.has('ready') && /^ready\r?$/m.test(output)) {
      take('ready');
      void go();
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (failure !== undefined) throw failure;
  const [settle, start, end] = ['settle', 'start', 'end'].map((mark) => samples.get(mark));
  if (code !== 0 || settle === undefined || start === undefined || end === undefined) {
    throw new Error(`${command.join(' ')} ended with ${code}:\n${output}${errors}`);
  }
  const [vcpu] = [...difference(settle.threads, start.threads)].sort(([, a], [, b]) => b - a)[0]!;
  const times = difference(start.threads, end.threads);
  let others = 0;
  for (const [thread, time] of times) if (thread !== vcpu) others += time;
  const cpu = { vcpu: times.get(vcpu) ?? 0, others };
  const disturbance = Math.max(0, end.busy - start.busy - cpu.vcpu - cpu.others) / (end.time - start.time);
  return { output, cpu, disturbance };
}
