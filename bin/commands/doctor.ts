import { ExitCode } from '../../lib/errors.ts';
import { examineHost } from '../../lib/host/doctor.ts';
import { canRun, type Finding, type FindingState } from '../../lib/host/finding.ts';
import { writeStdout } from '../../lib/output/stdout.ts';
import { type Style, stdoutStyle } from '../../lib/output/style.ts';
import { mvmVersion } from '../version.ts';

/** `mvm doctor`: says what this host has for virtual machines. @returns 0 where they can run */
export async function doctor(options: { readonly json: boolean }): Promise<ExitCode> {
  const findings = examineHost();
  const isAble = canRun(findings);
  if (options.json) {
    writeStdout(`${JSON.stringify({ mvm: await mvmVersion(), canRun: isAble, findings }, undefined, 2)}\n`);
  } else {
    writeStdout(render(findings, isAble, await stdoutStyle()));
  }
  return isAble ? ExitCode.Ok : ExitCode.HostUnable;
}

const MARKS: Readonly<Record<FindingState, { readonly text: string; readonly colour: keyof Style }>> = {
  good: { text: ' ok ', colour: 'green' },
  info: { text: 'info', colour: 'cyan' },
  fair: { text: 'note', colour: 'yellow' },
  bad: { text: 'FAIL', colour: 'red' },
};

function render(findings: readonly Finding[], isAble: boolean, style: Style): string {
  let text = '';
  let group = '';
  const indent = ' '.repeat(9);
  for (const finding of findings) {
    if (finding.group !== group) {
      text += `${group === '' ? '' : '\n'}${style.bold(finding.group)}\n`;
      group = finding.group;
    }
    const { text: mark, colour } = MARKS[finding.state];
    text += `  [${style[colour](mark)}] ${style.bold(finding.name)}: ${finding.value}\n${indent}${finding.meaning}\n`;
    if (finding.advice !== undefined) text += `${indent}${style.cyan(`→ ${finding.advice}`)}\n`;
  }
  const verdict = isAble
    ? style.green('Virtual machines can run here.')
    : style.red('Virtual machines cannot run here: see FAIL above.');
  return `${text}\n${verdict}\n`;
}
