/** Closes what was opened, last first; one failure does not keep the others open. */

export interface Closable {
  close(): Promise<void> | void;
}

export const isClosable = (value: unknown): value is Closable =>
  typeof value === "object" && value !== null && "close" in value && typeof value.close === "function";

export interface Closer extends Closable {
  /** Returns its argument, so that opening and registering are one expression. */
  add<T extends Closable>(closable: T): T;
  close(): Promise<void>;
}

export const createCloser = (): Closer => {
  const open: Closable[] = [];
  return {
    add(closable) {
      open.push(closable);
      return closable;
    },
    async close() {
      const failures: unknown[] = [];
      for (let next = open.pop(); next !== undefined; next = open.pop()) {
        try {
          await next.close();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
};
