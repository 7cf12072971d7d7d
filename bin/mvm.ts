#!/usr/bin/env node
import { fastParseRun } from './fast-parse.ts';
import { reportError, reportStyleOf } from './report.ts';

// Nothing heavy is imported here, or by what this imports: each command loads what it needs.

const args = process.argv.slice(2);
const style = reportStyleOf(args);

async function main(): Promise<number> {
  if (args[0] === 'run') {
    const options = fastParseRun(args.slice(1));
    if (options !== undefined) {
      const { run } = await import('./commands/run.ts');
      return await run(options);
    }
  }
  const { runCommandLine } = await import('./cli.ts');
  return await runCommandLine(args);
}

// A stream's error event has no caller to throw to: standard output went, most likely.
process.on('uncaughtException', (error) => process.exit(reportError(error, style)));

main().then(
  // Nothing that still runs (a thread, a timer) may hold up the end.
  (exitCode) => process.exit(exitCode),
  (error: unknown) => process.exit(reportError(error, style)),
);
