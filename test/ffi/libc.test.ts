import test from 'ava';
import { SystemError } from '../../lib/ffi/errors.ts';
import { bindCall, call, callPthread, tryCall } from '../../lib/ffi/libc.ts';
import { NativeBuffer } from '../../lib/ffi/native-buffer.ts';

const ENOENT = 2;
const EBADF = 9;
const EINVAL = 22;

test('a call gives back what the function returned', (t) => {
  t.is(tryCall('getpid'), process.pid);
});

test('tryCall gives back the negated errno', (t) => {
  t.is(tryCall('open', '/nowhere/at/all', 0, 0), -ENOENT);
  t.is(tryCall('close', -1), -EBADF);
});

test('call throws an error that names the call, the errno and the purpose', (t) => {
  const error = t.throws(() => call('close', 'close the door', -1), { instanceOf: SystemError });
  t.is(error?.message, 'cannot close the door: close failed with EBADF');
  t.is(error?.call, 'close');
  t.is(error?.errno, EBADF);
  t.is(error?.code, 'EBADF');
});

test('pthread functions return their error instead of setting errno', (t) => {
  const attributes = new NativeBuffer(56);
  const error = t.throws(() => callPthread('pthread_attr_setstacksize', 'make a thread', attributes.address, 1), {
    instanceOf: SystemError,
  });
  t.is(error?.errno, EINVAL);
});

test('a bound call repeats its arguments', (t) => {
  const getpid = bindCall('getpid');
  t.is(getpid(), process.pid);
  t.is(getpid(), process.pid);
});

test('symbols of libuv are reachable', (t) => {
  t.true(call('dlsym', 'find libuv', 0, 'uv_backend_timeout') > 0);
});
