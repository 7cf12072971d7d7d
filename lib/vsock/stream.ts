import type { Watch } from '../loop/event-loop.ts';
import type { OutputBuffer } from './output-buffer.ts';

export const StreamState = {
  /** The host is connected, and has not said yet with which port. */
  Asking: 0,
  /** The host's application has not got round to accepting. */
  Connecting: 1,
  Open: 2,
  Closed: 3,
} as const;
export type StreamState = (typeof StreamState)[keyof typeof StreamState];

/** One socket on the host. */
export class Stream {
  /** As the device knows it. */
  readonly id: number;
  readonly fd: number;
  state: StreamState;
  watch: Watch | undefined;
  /** Events (EPOLL*) that have not been dealt with; whether it is in the list of those that have some. */
  events = 0;
  noted = false;
  /** Waits for EPOLLOUT. */
  waiting = false;
  /** What the host's application has not taken yet, if there is something. */
  output: OutputBuffer | undefined;
  /** What the guest sends in the current batch: places of the first and last segment, and bytes. Whether it is in the batch. */
  firstSegment = -1;
  lastSegment = -1;
  sending = 0;
  inBatch = false;
  /** Of a connection that is not accepted yet: its port, and when it is given up. */
  port = 0;
  deadline = 0;

  constructor(id: number, fd: number, state: StreamState) {
    this.id = id;
    this.fd = fd;
    this.state = state;
  }
}
