import { configJsonSchema } from '../../lib/config/json-schema.ts';
import { ExitCode } from '../../lib/errors.ts';
import { writeStdout } from '../../lib/output/stdout.ts';

/** `mvm schema`: prints the JSON Schema of the configuration file. */
export function schema(): ExitCode {
  writeStdout(`${JSON.stringify(configJsonSchema(), undefined, 2)}\n`);
  return ExitCode.Ok;
}
