import test from 'ava';
import fc from 'fast-check';
import { parseVmCommand } from '../../bin/cli.ts';
import { fastParseRun } from '../../bin/fast-parse.ts';
import {
  COMMON_OPTIONS,
  JAIL_OPTIONS,
  type OptionSpec,
  overridesOf,
  VM_OPTIONS,
  type VmOptions,
} from '../../bin/options.ts';

const OPTIONS: [string, OptionSpec][] = Object.entries({ ...COMMON_OPTIONS, ...VM_OPTIONS, ...JAIL_OPTIONS });

test('the fast parser reads what a script would write', (t) => {
  t.deepEqual({ ...fastParseRun(['vm.json', '--memory', '1G', '--cpus=4', '-q', '--no-smt']) }, {
    config: 'vm.json',
    memory: '1G',
    cpus: '4',
    quiet: true,
    smt: false,
  } as VmOptions);
  t.is(fastParseRun(['-k', 'a', '-k', 'b', '-'])?.kernel, 'b');
  t.is(fastParseRun(['-k', 'a', '-'])?.config, '-');
  t.deepEqual(fastParseRun(['--resource-limit', 'fsize=1', '--resource-limit=no-file=99', '-'])?.['resource-limit'], [
    'fsize=1',
    'no-file=99',
  ]);
  t.is(fastParseRun(['--cmdline', 'console=ttyS0 -- --x'])?.cmdline, 'console=ttyS0 -- --x');
});

test('the fast parser leaves all that is not plain to yargs', (t) => {
  for (const args of [
    ['--help'],
    ['-h'],
    ['--version'],
    ['a', 'b'],
    ['--krenel', 'x'],
    ['--kernel'],
    ['-k', '-i', 'x'],
    ['-qX'],
  ]) {
    t.is(fastParseRun(args), undefined, args.join(' '));
  }
});

test('where the fast parser answers, yargs means the same', async (t) => {
  // A value that looks like an option is for yargs to judge; an empty one it drops.
  const value = fc.stringMatching(/^[A-Za-z0-9./ =:,_][A-Za-z0-9./ =:,_-]{0,12}$/);
  const option = fc.oneof(
    ...OPTIONS.map(([name, { type, short }]) =>
      type === 'boolean'
        ? fc.constantFrom<string[]>([`--${name}`], [`--no-${name}`], ...(short === undefined ? [] : [[`-${short}`]]))
        : fc.tuple(value, fc.constantFrom('apart', 'joined', 'short')).map(([text, form]) => {
            if (form === 'joined') return [`--${name}=${text}`];
            return [form === 'short' && short !== undefined ? `-${short}` : `--${name}`, text];
          }),
    ),
  );
  const positional = fc.stringMatching(/^[A-Za-z0-9./]{1,12}$|^-$/).map((text) => [text]);
  const commandLine = fc
    .tuple(fc.array(option, { maxLength: 5 }), fc.option(positional), fc.nat(5))
    .map(([options, file, at]) => (file === null ? options : options.toSpliced(at, 0, file)).flat());
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(commandLine, async (args) => {
      const fast = fastParseRun(args);
      if (fast === undefined) return;
      answered++;
      const slow = await parseVmCommand(['run', ...args]);
      t.deepEqual(normal(fast), normal(slow), JSON.stringify(args));
    }),
    { numRuns: 120 },
  );
  t.true(answered > 60, `${answered} of 120 were answered`);
});

/** Without options that are undefined, and in one order. */
function normal(options: VmOptions): object {
  return Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .toSorted(),
  );
}

test('--quiet and --debug are levels, which --log-level outweighs', (t) => {
  t.is(overridesOf({})['log-level'], undefined);
  t.is(overridesOf({ quiet: true })['log-level'], 'Error');
  t.is(overridesOf({ debug: true })['log-level'], 'Debug');
  t.is(overridesOf({ quiet: true, debug: true })['log-level'], 'Error');
  t.is(overridesOf({ quiet: true, 'log-level': 'Trace' })['log-level'], 'Trace');
  t.deepEqual(Object.keys(overridesOf({ config: 'x', id: 'y', memory: '1M' })), ['memory', 'log-level']);
});
