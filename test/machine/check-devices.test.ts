import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { loadConfig } from '../../lib/config/load.ts';
import { HostView } from '../../lib/host/host-view.ts';
import { checkDevices } from '../../lib/machine/check-devices.ts';
import { temporaryDirectory } from '../config/support.ts';

/** What is found in a configuration of these sections, whose relative paths begin in `directory`. */
async function found(
  t: ExecutionContext,
  directory: string,
  sections: object,
  host = new HostView(),
): Promise<string[]> {
  const file = join(temporaryDirectory(t), 'vm.json');
  writeFileSync(file, JSON.stringify({ 'boot-source': { kernel_image_path: 'k' }, ...sections }));
  const lines: string[] = [];
  checkDevices(
    await loadConfig({ file }),
    (path, message, hint, kind) =>
      lines.push([path.join('/'), message.replaceAll(directory, '.'), hint, kind].join(' | ')),
    host,
  );
  return lines;
}

test('drives whose files are there, and not', async (t) => {
  const directory = temporaryDirectory(t);
  const drive = (name: string) => {
    return { drive_id: name, path_on_host: join(directory, name), is_root_device: false };
  };
  writeFileSync(join(directory, 'there'), '');
  const folder = { ...drive('folder'), path_on_host: directory };
  t.deepEqual(await found(t, directory, { drives: [drive('there'), drive('missing'), folder] }), [
    'drives/1/path_on_host | ./missing: there is no such file |  | ',
    'drives/2/path_on_host | .: is neither a file nor a block device |  | ',
  ]);
});

test.serial('a passt that is not installed, a socket that is none, and a device that is no tap', async (t) => {
  const directory = temporaryDirectory(t);
  const path = process.env.PATH;
  const server = createServer().listen(join(directory, 'socket'));
  t.teardown(() => server.close());
  const interfaces = {
    'network-interfaces': [
      { iface_id: 'a', passt: {} },
      { iface_id: 'b', passt: { socket: join(directory, 'socket') } },
      { iface_id: 'c', passt: { socket: join(directory, 'none') } },
      { iface_id: 'd', host_dev_name: 'lo' },
      { iface_id: 'e', host_dev_name: 'nosuchtap' },
    ],
  };
  const expected = [
    'network-interfaces/2/passt/socket | ./none: is not a socket | start passt first: passt --socket DIR/none | ',
    'network-interfaces/3/host_dev_name | lo is not a tap device | name another one | ',
  ].map((line) => line.replace('DIR', directory));
  t.deepEqual(await found(t, directory, interfaces), expected);
  process.env.PATH = '/nowhere';
  t.teardown(() => {
    process.env.PATH = path;
  });
  t.deepEqual(
    (await found(t, directory, interfaces))[0],
    [
      'network-interfaces/0/passt',
      'passt is not installed',
      'install it (Debian: sudo apt install passt), or use a tap (host_dev_name)',
      'host',
    ].join(' | '),
  );
});
