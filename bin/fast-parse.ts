import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { COMMON_OPTIONS, JAIL_OPTIONS, type OptionSpec, type RunOptions, VM_OPTIONS } from './options.ts';

/**
 * Parses the arguments of `mvm run` with the parser that is built into Node.
 *
 * Loading yargs and running it takes longer than all else that mvm does before the guest starts, so `run` is parsed here
 * whenever this parser is sure of the meaning. yargs does the rest: help, completion, and saying what is wrong.
 * @returns undefined where yargs has to look
 */
export function fastParseRun(args: readonly string[]): RunOptions | undefined {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: optionsConfig(),
      allowPositionals: true,
      allowNegative: true,
      strict: true,
    });
    if (positionals.length > 1 || values.help === true || values.version === true) return undefined;
    // An empty value, or a lone "-" as one, is left to yargs, whose rules for them are its own.
    return { ...values, config: positionals[0] } as RunOptions;
  } catch {
    return undefined;
  }
}

function optionsConfig(): ParseArgsOptionsConfig {
  const options: ParseArgsOptionsConfig = { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } };
  for (const [name, { type, short, multiple = false }] of Object.entries<OptionSpec>({
    ...COMMON_OPTIONS,
    ...VM_OPTIONS,
    ...JAIL_OPTIONS,
  })) {
    options[name] = short === undefined ? { type, multiple } : { type, multiple, short };
  }
  return options;
}
