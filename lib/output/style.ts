import type { ChalkInstance } from 'chalk';

/** The parts of chalk that mvm uses; each is the identity where there are no colours. */
export type Style = Record<'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan', (text: string) => string>;

const plain = (text: string) => text;
const PLAIN: Style = { bold: plain, dim: plain, green: plain, yellow: plain, red: plain, cyan: plain };

/** Whether colours may go to `stream`: a terminal that knows them, and nobody said no (no-color.org). */
export function wantsColours(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0';
  return stream.isTTY === true && env.TERM !== 'dumb';
}

/** Colours for `stream`; chalk is loaded only where there are any. */
export async function styleFor(stream: { isTTY?: boolean }): Promise<Style> {
  if (!wantsColours(stream)) return PLAIN;
  const { Chalk } = await import('chalk');
  const chalk: ChalkInstance = new Chalk({ level: 1 });
  return chalk;
}
