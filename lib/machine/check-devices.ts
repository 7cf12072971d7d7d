import { accessSync, constants, existsSync, statSync } from 'node:fs';
import type { JsonPath } from '../config/json.ts';
import type { ProblemKind } from '../config/problems.ts';
import { describeFileError } from '../config/read-text.ts';
import type { DriveConfig, NetworkInterfaceConfig, VmConfig } from '../config/types.ts';
import { findProgram } from '../host/find-program.ts';
import { HostView } from '../host/host-view.ts';
import { PASST_HINT } from '../net/passt.ts';

/** Takes a problem of the value at `path`. */
export type Report = (path: JsonPath, message: string, hint?: string, kind?: ProblemKind) => void;

/** Looks whether what drives and network interfaces name is there, without opening any of it. */
export function checkDevices({ drives, networkInterfaces }: VmConfig, report: Report, host = new HostView()): void {
  for (const [index, drive] of drives.entries()) checkDrive(drive, ['drives', index, 'path_on_host'], report);
  for (const [index, config] of networkInterfaces.entries()) {
    checkNetworkInterface(config, ['network-interfaces', index], report, host);
  }
}

function checkDrive({ backend }: DriveConfig, path: JsonPath, report: Report): void {
  if (backend.kind !== 'file') return;
  const file = backend.path;
  try {
    accessSync(file, backend.readOnly ? constants.R_OK : constants.R_OK | constants.W_OK);
    const status = statSync(file);
    if (!status.isFile() && !status.isBlockDevice()) report(path, `${file}: is neither a file nor a block device`);
  } catch (error) {
    report(path, `${file}: ${describeFileError(error)}`);
  }
}

function checkNetworkInterface({ link }: NetworkInterfaceConfig, path: JsonPath, report: Report, host: HostView): void {
  switch (link.kind) {
    case 'passt':
      if (findProgram(host, 'passt') === undefined) {
        report([...path, 'passt'], 'passt is not installed', PASST_HINT, 'host');
      }
      return;
    case 'socket':
      if (!existsSync(link.path) || !statSync(link.path).isSocket()) {
        report(
          [...path, 'passt', 'socket'],
          `${link.path}: is not a socket`,
          `start passt first: passt --socket ${link.path}`,
        );
      }
      return;
    case 'tap':
      // What is not there is made, where that is allowed: the start tells.
      if (host.exists(`/sys/class/net/${link.name}`) && !host.exists(`/sys/class/net/${link.name}/tun_flags`)) {
        report([...path, 'host_dev_name'], `${link.name} is not a tap device`, 'name another one');
      }
  }
}
