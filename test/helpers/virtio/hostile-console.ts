import { ConsoleDevice } from '../../../devices/virtio/console/console.ts';
import { MemoryInput, MemoryOutput } from '../memory-console.ts';
import { Driver, type TransportName } from './driver.ts';
import { HostileDevice, type HostileSubject, hostileMemory } from './hostile-device.ts';
import { below, onceIn, pick } from './tape.ts';

/** A hostile guest with a console, whose host end takes bytes at its own pace. Sink and source throw where the device asks for nonsense. */
export function hostileConsole(transport: TransportName): HostileDevice {
  const output = new MemoryOutput();
  output.keeping = false;
  const input = new MemoryInput();
  const device = new ConsoleDevice({ output, input, size: { columns: 80, rows: 24 } });
  const driver = new Driver(transport, device, hostileMemory());
  const subject: HostileSubject = {
    driver,
    features: [28, 29, 0, 2],
    writable: [true, false],
    happen(tape) {
      if (onceIn(tape, 2)) output.open(pick(tape, [0, 1, 1000, 100_000]));
      if (onceIn(tape, 2) && input.available < 100_000) input.type('x'.repeat(below(tape, 5000)));
      if (onceIn(tape, 8)) device.resize({ columns: tape.next() & 0xffff, rows: tape.next() & 0xffff });
    },
    use() {
      input.type('x');
    },
    proveAlive() {
      input.clear();
      output.open(Number.POSITIVE_INFINITY);
      const before = output.length;
      const address = driver.allocate(100);
      driver.ring(1).add([{ address, length: 100, writable: false }]);
      driver.ring(0).add([{ address, length: 100, writable: true }]);
      driver.core.poll();
      if (output.length !== before + 100) throw new Error('nothing is printed any more');
      input.type('typed');
      if (Buffer.from(driver.memory.read(address, 5)).toString() !== 'typed') throw new Error('nothing can be typed');
      if (driver.ring(0).collect()[0]?.length !== 5 || driver.ring(1).collect().length !== 1) {
        throw new Error('the device gave back other chains');
      }
    },
  };
  return new HostileDevice(subject);
}
