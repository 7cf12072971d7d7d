import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { build } from 'esbuild';
import { BINDING_ASSET } from '../lib/ffi/binding.ts';

// Makes dist/mvm: the code as one script, inside a copy of Node, as a single executable application
// (https://nodejs.org/api/single-executable-applications.html).

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const output = join(dist, 'mvm');

/**
 * Flags for V8 and Node in the executable. The same must hold while the snapshot is built, or V8 rejects its cached code.
 * `--v8-pool-size=1`: V8 compiles and collects on one thread beside JavaScript's, not on four: less to confine.
 * `--no-memory-protection-keys`: V8 protects code by them where processor and embedder can, which Node cannot; so hosts do not differ.
 * `--disable-sigusr1`: without it, that signal makes Node listen for a debugger, through which every user of this host could be us.
 * `--no-rehash-snapshot`: one hash seed for all runs of a build saves 2 ms at start. Nobody but the machine's owner chooses keys.
 */
const EXEC_ARGV = [
  '--no-warnings',
  '--v8-pool-size=1',
  '--no-memory-protection-keys',
  '--disable-sigusr1',
  '--no-rehash-snapshot',
];

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
mkdirSync(dist, { recursive: true });
const scratch = mkdtempSync(join(dist, '.build-'));
try {
  const script = join(scratch, 'mvm.cjs');
  await build({
    entryPoints: [join(root, 'bin/mvm.ts')],
    outfile: script,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node26',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    define: {
      'import.meta.filename': '__filename',
      'import.meta.dirname': '__dirname',
      'import.meta.main': 'false',
      // yargs derives the folder of its translations from it: /proc/locales, which nobody can make. Its texts stay English.
      'import.meta.url': '"file:///proc/-/-/mvm"',
      MVM_VERSION: JSON.stringify(version),
    },
    logLevel: 'warning',
  });

  const node = join(scratch, 'node');
  copyFileSync(process.execPath, node);
  // Symbols for debuggers only: a quarter of the file. What foreign calls look up is in the dynamic symbol table, which stays.
  execFileSync('strip', ['--strip-all', node]);

  const binding = createRequire(import.meta.url).resolve('@yuuang/ffi-rs-linux-x64-gnu');
  const config = join(scratch, 'sea.json');
  const made = join(scratch, 'mvm');
  writeFileSync(
    config,
    JSON.stringify({
      main: script,
      output: made,
      executable: node,
      disableExperimentalSEAWarning: true,
      useSnapshot: true,
      execArgv: EXEC_ARGV,
      execArgvExtension: 'none',
      assets: { [BINDING_ASSET]: binding },
    }),
  );
  execFileSync(process.execPath, [...EXEC_ARGV, '--build-sea', config], { stdio: ['ignore', 'ignore', 'inherit'] });
  renameSync(made, output);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const size = Math.round(statSync(output).size / 1e6);
process.stderr.write(`built ${relative(process.cwd(), output)} (${size} MB)\n`);
