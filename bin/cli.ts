import yargs, { type Argv, type Options } from 'yargs';
import { nearest } from '../lib/config/nearest.ts';
import { STDIN } from '../lib/config/read-text.ts';
import { ExitCode } from '../lib/errors.ts';
import { writeStdout } from '../lib/output/stdout.ts';
import type { SeccompOptions } from './commands/seccomp.ts';
import {
  COMMON_OPTIONS,
  JAIL_OPTIONS,
  type OptionSpec,
  type RunOptions,
  SECCOMP_OPTIONS,
  VM_OPTIONS,
} from './options.ts';
import { UsageError } from './report.ts';
import { mvmVersion } from './version.ts';

const EXIT_CODES = `Exit codes:
  0    the guest powered itself off, or the command succeeded
  1    a defect of mvm
  2    the command line is wrong
  3    the configuration, or a file that it names, is wrong
  4    this host cannot do it: no KVM, no permission, not enough memory
  5    the guest crashed: triple fault, panic, or an exit that cannot be handled
  6    an output failed: standard output closed early, disk full
  128+n  ended by signal n: 129 SIGHUP, 130 SIGINT, 143 SIGTERM
  148  a seccomp filter stopped mvm`;

/** With it, the completion scripts ask for the words that fit. */
const COMPLETE = '--get-yargs-completions';

/** What the arguments chose: it runs once parsing is over. */
type Action = () => Promise<number>;

/** Parses a command line with yargs, and runs the command that it names. @returns mvm's exit code */
export async function runCommandLine(commandLine: readonly string[]): Promise<number> {
  const args = selectShell(commandLine);
  let action: Action | undefined;
  const parser = await createParser(args, (chosen) => {
    action = chosen;
  });
  if (args[0] === COMPLETE) {
    // yargs answers by itself, and ends the process.
    await parser.parseAsync();
    return ExitCode.Ok;
  }
  const output = await new Promise<string>((resolve, reject) => {
    // The callback makes yargs return what it would print (help, version, completions) instead of printing it.
    parser.parse([...args], {}, (error: Error | undefined, _argv: unknown, text: string) => {
      if (error) reject(error);
      else resolve(text);
    });
  });
  if (output !== '') {
    writeStdout(output.endsWith('\n') ? output : `${output}\n`);
    return ExitCode.Ok;
  }
  if (action === undefined) throw new UsageError('no command was given', { hint: 'see mvm --help' });
  return await action();
}

/** How yargs reads the arguments of `run` or `check`. @throws UsageError */
export async function parseVmCommand(args: readonly string[]): Promise<RunOptions> {
  const parser = await createParser(args, () => {});
  return await new Promise((resolve, reject) => {
    parser.parse([...args], {}, (error: Error | undefined, argv: object) => {
      if (error) reject(error);
      else resolve(pickVmOptions(argv));
    });
  });
}

async function createParser(args: readonly string[], choose: (action: Action) => void): Promise<Argv> {
  // Values are checked by lib/config, with the file's; yargs only has them for completion.
  const completing = args[0] === COMPLETE;
  const settings = (spec: OptionSpec): Options => ({
    type: spec.type,
    describe: spec.value === undefined ? spec.describe : `${spec.value}: ${spec.describe}`,
    ...(spec.short === undefined ? {} : { alias: spec.short }),
    ...(spec.type === 'string' ? { requiresArg: true } : {}),
    ...(completing && spec.choices !== undefined ? { choices: spec.choices } : {}),
  });
  const withOptions = (builder: Argv, specs: Record<string, OptionSpec>, group: string) => {
    for (const [name, spec] of Object.entries(specs)) {
      builder.option(name, { ...settings(spec), group, ...(spec.negated === true ? { hidden: true } : {}) });
      // Help and completion show the form that says something; the parser makes `NAME: false` of it.
      if (spec.negated === true) builder.option(`no-${name}`, { ...settings(spec), group });
    }
    return builder;
  };
  const withVmOptions = (builder: Argv) =>
    withOptions(
      builder.positional('config', {
        type: 'string',
        describe: 'Configuration file, in Firecracker’s format; - is standard input',
      }),
      VM_OPTIONS,
      'Machine (options override the file’s keys):',
    );

  return withOptions(
    // Completing the options of a command, yargs looks at these arguments again.
    yargs(completing ? [...args] : [])
      .scriptName('mvm')
      .usage('$0 <command>\n\nBoots a Linux virtual machine on KVM.')
      .parserConfiguration({
        // An option that is given twice comes as an array, of which `pickVmOptions` takes the last, or all.
        'duplicate-arguments-array': true,
        'camel-case-expansion': false,
        'parse-numbers': false,
      })
      .locale('en'),
    COMMON_OPTIONS,
    'Common:',
  )
    .command(
      'run [config]',
      'Boot a virtual machine and stay with it until it ends',
      (y) =>
        withOptions(withVmOptions(y), JAIL_OPTIONS, 'Jail (names are those of Firecracker’s jailer):')
          .usage(
            `$0 run [config.json | -]

Boots a virtual machine. Its serial port is this terminal: Ctrl-A x leaves, Ctrl-A h tells more.
The guest's console is on standard output, all messages are on standard error.`,
          )
          .example('$0 run vm.json', 'boot what a configuration file says')
          .example('$0 run vm.json --memory 1G --cpus 4', 'the same with more of both')
          .example('$0 run -k vmlinux -i initramfs.cpio', 'boot without a file')
          .example('jq … vm.json | $0 run -', 'read the configuration from standard input')
          .example('$0 run vm.json --serial console.log -q', 'for scripts: no terminal')
          .example('$0 run vm.json --jail --id web1', 'in a jail, as root or as an ordinary user')
          .epilogue(EXIT_CODES),
      (argv) => choose(async () => (await import('./commands/run.ts')).run(pickVmOptions(argv))),
    )
    .command(
      'check [config]',
      'Look for every problem in a configuration without starting it',
      (y) =>
        withVmOptions(y)
          .usage(
            `$0 check [config.json | -]

Reads a configuration and the files that it names, and reports every problem.`,
          )
          .example('$0 check vm.json', 'check a file')
          .example('$0 check vm.json --memory 16G', 'check it with an option')
          .example('$0 check -k bzImage -i initrd.img', 'check options')
          .epilogue(EXIT_CODES),
      (argv) => choose(async () => (await import('./commands/check.ts')).check(pickVmOptions(argv))),
    )
    .command(
      'schema',
      'Print the JSON Schema of the configuration file',
      (y) =>
        y
          .usage(
            `$0 schema

Prints the JSON Schema (draft 2020-12) of the configuration file, for editors and validators.`,
          )
          .example('$0 schema > mvm.schema.json', 'keep it for an editor'),
      () => choose(async () => (await import('./commands/schema.ts')).schema()),
    )
    .command(
      'doctor',
      'Look at this host: can it run virtual machines, and how well',
      (y) =>
        y
          .usage(
            `$0 doctor

Looks at what mvm needs or can use of this host, and says what each means and what to do.`,
          )
          .option('json', { type: 'boolean', describe: 'Print one JSON object' })
          .example('$0 doctor', 'for people')
          .example('$0 doctor --json | jq .canRun', 'for scripts')
          .epilogue('Exit codes:\n  0  virtual machines can run here\n  4  they cannot'),
      (argv) => choose(async () => (await import('./commands/doctor.ts')).doctor({ json: argv.json === true })),
    )
    .command(
      'seccomp',
      'Check seccomp profiles, show the filters that they become, or print mvm’s own',
      (y) =>
        withOptions(y, SECCOMP_OPTIONS, 'Options:')
          .usage(
            `$0 seccomp --check FILE
$0 seccomp --disassemble PROFILE|FILE [--thread NAME]
$0 seccomp --print [--thread NAME]

Checks a file for --seccomp-filter, shows the BPF programs that mvm's own profiles (vcpu, main,
runtime) or those of a file are compiled to, or prints mvm's own.`,
          )
          .example('$0 seccomp --disassemble vcpu', "mvm's own filter of the vCPU threads")
          .example('$0 seccomp --print > filters.json', 'begin a file of your own with them')
          .example('$0 seccomp --check filters.json', 'find every mistake in a file')
          .example('$0 seccomp --disassemble filters.json --thread main', 'one of its filters'),
      (argv) => choose(async () => (await import('./commands/seccomp.ts')).seccomp(argv as SeccompOptions)),
    )
    .completion('completion', 'Print a completion script for bash or zsh (default: the shell that $SHELL names)')
    .demandCommand(1, 1, 'no command was given', 'only one command can be given')
    .strict()
    .recommendCommands()
    .alias('help', 'h')
    .version(await mvmVersion())
    .epilogue(`${EXIT_CODES}\n\nmvm <command> --help tells more about a command.`)
    .wrap(Math.min(110, process.stdout.columns ?? 100))
    .fail((message, error) => {
      // yargs throws some of its complaints as YErrors of its own, with no message beside.
      if (error !== undefined && error.name !== 'YError') throw error;
      throw usageError(message ?? error?.message ?? 'the command line is wrong', args);
    });
}

/** What `run` and `check` take, without aliases and whatever else yargs adds. */
function pickVmOptions(argv: object): RunOptions {
  const specs: Record<string, OptionSpec> = { ...COMMON_OPTIONS, ...VM_OPTIONS, ...JAIL_OPTIONS };
  const names = [...Object.keys(specs), 'config'];
  const options: RunOptions = Object.fromEntries(
    Object.entries(argv)
      .filter(([name]) => names.includes(name))
      .map(([name, value]) => {
        if (value === undefined) return [name, value];
        const all: unknown[] = Array.isArray(value) ? value : [value];
        return [name, specs[name]?.multiple === true ? all : all.at(-1)];
      }),
  );
  // yargs makes an empty text of a lone "-" where a positional argument is meant.
  return options.config === '' ? { ...options, config: STDIN } : options;
}

/** yargs chooses the completion script's language by $SHELL; here it may be named. @returns the arguments without its name */
function selectShell(args: readonly string[]): readonly string[] {
  const [command, shell, ...others] = args;
  if (command !== 'completion' || (shell !== 'bash' && shell !== 'zsh')) return args;
  process.env.SHELL = `/bin/${shell}`;
  return [command, ...others];
}

/** yargs's complaint, in the form and with the help that mvm's other messages have. */
function usageError(message: string, args: readonly string[]): UsageError {
  const hint = 'see --help';
  if (message.startsWith('Did you mean')) {
    return new UsageError(`unknown command ${JSON.stringify(args.find((arg) => !arg.startsWith('-')))}`, {
      hint: `${lowerFirst(message)} see --help`,
    });
  }
  const unknown = /^Unknown arguments?: ([^,]+)/.exec(message)?.[1];
  if (unknown === undefined) return new UsageError(lowerFirst(message.split('\n', 1)[0]!), { hint });
  const option = args.find(
    (arg) => arg.replace(/^--?(?:no-)?/, '').replace(/=.*/s, '') === unknown && arg.startsWith('-'),
  );
  if (option === undefined) return new UsageError(`unexpected argument ${JSON.stringify(unknown)}`, { hint });
  const near = nearest(unknown, [
    ...Object.keys(COMMON_OPTIONS),
    ...Object.keys(VM_OPTIONS),
    ...Object.keys(JAIL_OPTIONS),
    ...Object.keys(SECCOMP_OPTIONS),
    'help',
    'version',
    'json',
  ]);
  const name = option.replace(/=.*/s, '');
  return new UsageError(`unknown option ${name}`, { hint: near === undefined ? hint : `did you mean --${near}?` });
}

function lowerFirst(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}
