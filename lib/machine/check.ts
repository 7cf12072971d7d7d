import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { loadGuest } from '../boot/boot.ts';
import { CMDLINE_SIZE, encodeCmdline } from '../boot/cmdline.ts';
import { FileSource } from '../boot/image-source.ts';
import { inspectKernel, type KernelFile } from '../boot/kernel-file.ts';
import type { JsonPath } from '../config/json.ts';
import type { Inspection } from '../config/load.ts';
import type { PathProblem, Problem } from '../config/problems.ts';
import { describeFileError } from '../config/read-text.ts';
import { formatSize } from '../config/size.ts';
import type { VmConfig } from '../config/types.ts';
import { MvmError } from '../errors.ts';
import { HostView } from '../host/host-view.ts';
import { checkMemorySize } from '../host/memory.ts';
import { freeHugePages } from '../host/memory-probes.ts';
import { GuestMemory, HUGE_PAGE_SIZE } from '../memory/guest-memory.ts';
import { checkDevices, type Report } from './check-devices.ts';
import { guestImage } from './guest-image.ts';

/** What a thorough look at a configuration found. */
export interface CheckResult {
  readonly problems: readonly Problem[];
  /** The machine in one line; where there are no problems. */
  readonly summary: string | undefined;
}

const KERNEL: JsonPath = ['boot-source', 'kernel_image_path'];
const INITRD: JsonPath = ['boot-source', 'initrd_path'];
const CMDLINE: JsonPath = ['boot-source', 'boot_args'];
const MEMORY: JsonPath = ['machine-config', 'mem_size_mib'];

/**
 * Goes beyond the text: looks at the files that a configuration names and at this host, and loads the guest into memory without
 * running it. Nothing is created or changed.
 */
export async function checkConfig(inspection: Inspection): Promise<CheckResult> {
  const { config } = inspection;
  if (config === undefined) return { problems: inspection.problems, summary: undefined };
  const found: PathProblem[] = [];
  const report: Report = (path, message, hint, kind = 'config') =>
    found.push(hint === undefined ? { path, message, kind } : { path, message, hint, kind });

  const kernel = checkKernel(config, report);
  const initrdSize = checkInitrd(config, report);
  const isCmdlineGood = checkCmdline(config, kernel, report);
  const isMemoryGood = checkMemory(config, report);
  checkOutputs(config, report);
  checkDevices(config, report);
  if (kernel !== undefined && isMemoryGood) {
    await checkLoading(config, { initrd: initrdSize !== undefined, cmdline: isCmdlineGood }, report);
  }
  const problems = await inspection.withMore(found);
  return { problems, summary: problems.length > 0 ? undefined : summarise(config, kernel, initrdSize) };
}

/** Runs a check that throws; its error is about the file at `path`. */
function attempt<T>(report: Report, path: JsonPath, check: () => T): T | undefined {
  try {
    return check();
  } catch (error) {
    reportError(report, path, error);
    return undefined;
  }
}

function reportError(report: Report, path: JsonPath, error: unknown): void {
  if (!(error instanceof MvmError)) throw error;
  const { where, message, hint } = error;
  report(path, where === undefined ? message : `${where}: ${message}`, hint);
}

function checkKernel({ boot }: VmConfig, report: Report): KernelFile | undefined {
  return attempt(report, KERNEL, () => {
    using source = new FileSource(boot.kernelPath, 'kernel');
    return inspectKernel(source);
  });
}

function checkInitrd({ boot }: VmConfig, report: Report): number | undefined {
  const { initrdPath } = boot;
  if (initrdPath === undefined) return undefined;
  return attempt(report, INITRD, () => {
    using source = new FileSource(initrdPath, 'initrd');
    return source.size;
  });
}

function checkCmdline({ boot }: VmConfig, kernel: KernelFile | undefined, report: Report): boolean {
  const limit = kernel?.kind === 'bzImage' ? kernel.bzImage.cmdlineSize : CMDLINE_SIZE;
  try {
    encodeCmdline(boot.cmdline, limit);
    return true;
  } catch (error) {
    if (!(error instanceof MvmError)) throw error;
    report(CMDLINE, error.message, error.hint);
    return false;
  }
}

/** @returns whether the host can give it, as far as pages of 4 KiB go */
function checkMemory({ machine }: VmConfig, report: Report): boolean {
  try {
    checkMemorySize(machine);
  } catch (error) {
    if (!(error instanceof MvmError)) throw error;
    report(MEMORY, error.message, error.hint, 'host');
    return false;
  }
  const needed = machine.memorySize / HUGE_PAGE_SIZE;
  const free = machine.hugePages === '2M' ? (freeHugePages(new HostView()) ?? 0) : needed;
  if (free < needed) {
    const what = `needs ${needed} huge pages of 2 MiB, and ${free} are free`;
    const hint = `reserve them first: sudo sysctl vm.nr_hugepages=${needed}`;
    report(['machine-config', 'huge_pages'], what, hint, 'host');
  }
  return true;
}

function checkOutputs({ serial, console, logger, metrics }: VmConfig, report: Report): void {
  if (serial.kind === 'file') checkOutput(serial.path, ['serial', 'serial_out_path'], report);
  if (console.kind === 'file') checkOutput(console.path, ['console', 'console_out_path'], report);
  if (metrics !== undefined) checkOutput(metrics.path, ['metrics', 'metrics_path'], report);
  if (logger.path !== undefined) checkOutput(logger.path, ['logger', 'log_path'], report);
}

/** A file that will be written: it, or the directory that it will be made in, has to be writable. */
function checkOutput(file: string, path: JsonPath, report: Report): void {
  try {
    if (!existsSync(file)) accessSync(dirname(file), constants.W_OK | constants.X_OK);
    else if (statSync(file).isDirectory()) report(path, `${file}: is a directory, not a file`);
    else accessSync(file, constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'there is no such directory' : describeFileError(error);
    report(path, `${file}: cannot be written: ${what}`);
  }
}

/** Loads the guest as `mvm run` would, into memory that nobody runs; what has a problem already is left out. */
async function checkLoading(
  config: VmConfig,
  good: { readonly initrd: boolean; readonly cmdline: boolean },
  report: Report,
): Promise<void> {
  const { boot, machine } = config;
  try {
    const image = guestImage(config, GuestMemory.plain(machine.memorySize));
    await loadGuest({
      ...image,
      initrd: good.initrd ? image.initrd : undefined,
      bootArgs: good.cmdline ? image.bootArgs : '',
    });
  } catch (error) {
    if (error instanceof RangeError)
      report(MEMORY, 'this process may not have so much address space', 'see ulimit -v', 'host');
    else reportError(report, error instanceof MvmError && error.where === boot.initrdPath ? INITRD : KERNEL, error);
  }
}

function summarise(
  { machine, boot }: VmConfig,
  kernel: KernelFile | undefined,
  initrdSize: number | undefined,
): string {
  const parts = [
    machine.vcpuCount === 1 ? '1 vCPU' : `${machine.vcpuCount} vCPUs`,
    formatSize(machine.memorySize),
    `kernel ${boot.kernelPath} (${kernel?.kind === 'bzImage' ? 'bzImage' : 'ELF'})`,
  ];
  if (initrdSize !== undefined) parts.push(`initrd ${boot.initrdPath} (${formatSize(initrdSize)})`);
  return parts.join(', ');
}
