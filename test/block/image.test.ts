import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import * as image from '../../lib/block/image.ts';
import { ConfigError } from '../../lib/errors.ts';
import { compareWithC, constantsOf } from '../helpers/c-layout.ts';

const { DiskImage } = image;

function imageFile(t: ExecutionContext, size: number): string {
  const directory = mkdtempSync(join(tmpdir(), 'mvm-image-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, size);
  return path;
}

function open(t: ExecutionContext, path: string, readOnly: boolean, warnings: string[] = []) {
  const warn = (message: string) => warnings.push(message);
  const opened = new DiskImage({ path, readOnly, where: '/drives/0/path_on_host', warn });
  t.teardown(() => opened.close());
  return opened;
}

test('structures and numbers are those of Linux', (t) => {
  compareWithC(t, {
    headers: ['fcntl.h', 'linux/fs.h'],
    structs: [{ layout: image.flock }],
    constants: constantsOf(image),
  });
});

test('a file is as many sectors as it holds', (t) => {
  const opened = open(t, imageFile(t, 1 << 20), false);
  t.is(opened.sectors, 2048);
  t.is(opened.blockSize, 512);
  t.false(opened.readOnly);
  t.true(opened.canPunchHoles);
});

test('what is no whole sector is left out, and said', (t) => {
  const warnings: string[] = [];
  const path = imageFile(t, 1300);
  t.is(open(t, path, true, warnings).sectors, 2);
  t.deepEqual(warnings, [`${path}: the last 276 bytes are no whole sector, and left out`]);
});

test('asking whether holes can be punched changes nothing', (t) => {
  const path = imageFile(t, 1000);
  writeFileSync(path, 'x'.repeat(1000));
  open(t, path, false);
  t.is(open(t, imageFile(t, 4096), true).canPunchHoles, false);
});

const line = (t: ExecutionContext, path: string, readOnly: boolean): string => {
  const error = t.throws(() => new DiskImage({ path, readOnly, where: '/drives/0/path_on_host', warn: () => {} }), {
    instanceOf: ConfigError,
  });
  return (error as ConfigError).toLine();
};

test('what is no disk is refused in one line', (t) => {
  const empty = imageFile(t, 100);
  t.is(line(t, empty, false), `/drives/0/path_on_host: ${empty} has no sector of 512 bytes`);
  t.is(line(t, '/dev/null', false), '/drives/0/path_on_host: /dev/null is neither a file nor a block device');
  t.is(
    line(t, '/nowhere/disk.img', true),
    '/drives/0/path_on_host: cannot open /nowhere/disk.img (ENOENT); make the image, or correct the path',
  );
  t.regex(line(t, tmpdir(), false), /cannot open .* for writing \(EISDIR\)$/);
});

test('one may write it, and nobody else may have it then', (t) => {
  const path = imageFile(t, 4096);
  const writer = new DiskImage({ path, readOnly: false, where: '', warn: () => {} });
  t.is(
    line(t, path, false),
    `/drives/0/path_on_host: ${path} is in use by another virtual machine or drive; stop the other one, or set is_read_only on both`,
  );
  t.is(
    line(t, path, true),
    `/drives/0/path_on_host: ${path} is in use by another virtual machine or drive, which writes it; stop the other one`,
  );
  writer.close();
  open(t, path, true);
});

test('many may read it, and nobody may write it then', (t) => {
  const path = imageFile(t, 4096);
  chmodSync(path, 0o600);
  open(t, path, true);
  open(t, path, true);
  t.regex(line(t, path, false), /is in use by another/);
});
