/** Requests through a sidecar at a steady rate, as far as the machine allows, over connections that are kept. */
import { Agent, request } from "node:http";

export interface SteadyLoad {
  readonly sent: number;
  /** Everything but 200: the status, or the system's word. */
  readonly failures: readonly string[];
  stop(): Promise<void>;
}

/** `url`: absolute, as a proxy takes it. */
export const startLoad = (proxyPort: number, url: string, perSecond: number): SteadyLoad => {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const failures: string[] = [];
  const open = new Set<Promise<void>>();
  let sent = 0;
  const { host } = new URL(url);

  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const outgoing = request(
        { agent, host: "127.0.0.1", port: proxyPort, path: url, headers: { host } },
        (answer) => {
          if (answer.statusCode !== 200)
            failures.push(`${answer.statusCode} ${answer.headers["x-sidekey-error"] ?? ""}`);
          answer.resume().on("close", resolve);
        },
      );
      outgoing.on("error", (error) => {
        failures.push("code" in error ? String(error.code) : error.name);
        resolve();
      });
      outgoing.end();
    });

  const timer = setInterval(() => {
    // A machine that cannot keep up sends fewer, and queues none.
    if (open.size >= 32) return;
    sent += 1;
    const asked = one();
    open.add(asked);
    void asked.then(() => open.delete(asked));
  }, 1000 / perSecond);

  return {
    get sent() {
      return sent;
    },
    failures,
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      agent.destroy();
    },
  };
};
