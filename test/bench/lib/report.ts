import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release } from 'node:os';

/** What a measurement was made on: one line each. */
export function machineFacts(): string[] {
  const kind = existsSync('/sys/module/kvm_pvm')
    ? 'KVM-PVM'
    : existsSync('/sys/module/kvm_intel')
      ? 'KVM on VMX'
      : existsSync('/sys/module/kvm_amd')
        ? 'KVM on SVM'
        : 'KVM';
  const memory = /^MemTotal:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? '0';
  return [
    `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
    `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${availableParallelism()} CPUs, ${Math.round(Number(memory) / 2 ** 20)} GiB`,
    `Linux ${release()}, ${kind}, load ${loadavg()
      .map((load) => load.toFixed(1))
      .join(' ')} at the end`,
  ];
}

/** Rows of cells as aligned columns: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}
