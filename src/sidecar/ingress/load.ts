/** What the ways in carry now, and what they turned away before it could be a request: numbers that their owners keep. */
export interface Load {
  /** Client connections. */
  connections: number;
  /** CONNECT tunnels, read or not. */
  tunnels: number;
  /** Requests in flight. */
  streams: number;
  /** Requests on the line: of one whose agent has left some time passes till it is on record. */
  underway: number;
  /** Connections from outside `listen.clients`, since the start. */
  strangers: number;
  /** Connections past `limits.connections`, since the start. */
  surplus: number;
}

export const createLoad = (): Load => ({
  connections: 0,
  tunnels: 0,
  streams: 0,
  underway: 0,
  strangers: 0,
  surplus: 0,
});
