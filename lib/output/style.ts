import { isatty } from 'node:tty';
import type { ChalkInstance } from 'chalk';

/** The parts of chalk that mvm uses; each is the identity where there are no colours. */
export type Style = Record<'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan', (text: string) => string>;

const plain = (text: string) => text;
const PLAIN: Style = { bold: plain, dim: plain, green: plain, yellow: plain, red: plain, cyan: plain };

/** Whether colours may go to a descriptor: it is a terminal that knows them, and nobody said no (no-color.org). */
export function wantsColours(isTerminal: boolean, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0';
  return isTerminal && env.TERM !== 'dumb';
}

/** Colours for standard output; chalk is loaded only where there are any. */
export async function stdoutStyle(): Promise<Style> {
  // Not process.stdout.isTTY: making that stream would make a pipe non-blocking, for other processes too.
  if (!wantsColours(isatty(1))) return PLAIN;
  const { Chalk } = await import('chalk');
  const chalk: ChalkInstance = new Chalk({ level: 1 });
  return chalk;
}
