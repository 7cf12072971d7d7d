#!/usr/bin/env node
import { startupSnapshot } from 'node:v8';
import { JAILED } from './commands/jailed-name.ts';
import { fastParseRun } from './fast-parse.ts';
import { reportError, reportStyleOf } from './report.ts';

// Nothing heavy is imported here, or by what this imports: each command loads what it needs.

async function runCommand(args: readonly string[]): Promise<number> {
  if (args[0] === 'run') {
    const options = fastParseRun(args.slice(1));
    if (options !== undefined) {
      const { run } = await import('./commands/run.ts');
      return await run(options);
    }
  }
  if (args[0] === JAILED) {
    const { jailed } = await import('./commands/jailed.ts');
    return await jailed();
  }
  const { runCommandLine } = await import('./cli.ts');
  return await runCommandLine(args);
}

function main(): void {
  const args = process.argv.slice(2);
  const style = reportStyleOf(args);
  // A stream's error event has no caller to throw to: standard output went, most likely.
  process.on('uncaughtException', (error) => process.exit(reportError(error, style)));
  runCommand(args).then(
    // Nothing that still runs (a thread, a timer) may hold up the end.
    (exitCode) => process.exit(exitCode),
    (error: unknown) => process.exit(reportError(error, style)),
  );
}

if (startupSnapshot.isBuildingSnapshot()) {
  // bin/build.ts runs this once: the executable starts from the heap that it leaves behind (see warm-up.ts).
  void import('./warm-up.ts').then(({ warmUp }) => warmUp());
  startupSnapshot.setDeserializeMainFunction(main);
} else {
  main();
}
