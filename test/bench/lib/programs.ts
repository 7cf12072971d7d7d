import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** What programs share with the bare-metal guests. */
const SHARED = join(import.meta.dirname, '../../../fixtures/bare-metal/runtime');
const SHARED_FILES = ['frames.h', 'streams.h'];
const FLAGS = ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-Wno-sign-compare', '-pthread'];

/** Compiles `<name>.c` of this folder, once for each state of it, and returns the program's path. */
export function buildProgram(name: 'filtered-calls' | 'launch' | 'net-peer' | 'reference-vmm' | 'vsock-peer'): string {
  const source = join(import.meta.dirname, `${name}.c`);
  const hash = createHash('sha256').update(FLAGS.join(' '));
  for (const path of [source, ...SHARED_FILES.map((file) => join(SHARED, file))]) hash.update(readFileSync(path));
  const directory = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'mvm', 'bench');
  const program = join(directory, `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(program)) return program;
  mkdirSync(directory, { recursive: true });
  const made = `${program}.${process.pid}`;
  execFileSync('gcc', [...FLAGS, `-I${SHARED}`, '-o', made, source]);
  renameSync(made, program);
  return program;
}

/** Whether a command is in PATH. */
export function isInstalled(command: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => existsSync(join(directory, command)));
}

/**
 * Installs the Debian package of a command that is missing: as root; otherwise it says what to run.
 * @throws Error with that line
 */
export function requireCommand(command: string, debianPackage: string): void {
  if (isInstalled(command)) return;
  if (process.getuid?.() !== 0) {
    throw new Error(
      `${command} is not installed: run \`sudo apt-get install --no-install-recommends ${debianPackage}\``,
    );
  }
  process.stderr.write(`Installing ${debianPackage}\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = ['-qq', '-o', 'DPkg::Lock::Timeout=300'];
  execFileSync('apt-get', [...apt, 'update'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  execFileSync('apt-get', [...apt, 'install', '-y', '--no-install-recommends', debianPackage], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}
