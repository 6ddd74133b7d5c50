/** A second process on the same store: answers each line of standard input with a line. */
import { createInterface } from "node:readline";
import { openLmdb } from "../../../../src/vault/storage/lmdb.ts";

const storage = await openLmdb(process.argv[2] ?? "");
process.stdout.write("open\n");
for await (const line of createInterface({ input: process.stdin })) {
  const [command, key = "", value = ""] = line.split(" ");
  if (command === "put") await storage.write((tx) => tx.put(key, Buffer.from(value)));
  if (command === "fill") await storage.write((tx) => tx.put(key, Buffer.alloc(Number(value), 0x61)));
  // In the middle of its turn: what it read is held until then.
  if (command === "die") {
    await storage.read((tx) => {
      tx.get(key);
      process.kill(process.pid, "SIGKILL");
    });
  }
  // With a write that waits for the thread that ends the process.
  if (command === "exit") await storage.write(() => process.exit(1));
  if (command === "count") {
    for (let n = 0; ; n += 1) {
      await storage.write((tx) => tx.put(key, Buffer.from(String(n))));
      process.stdout.write(`${n}\n`);
    }
  }
  process.stdout.write(`${command === "generation" ? storage.generation() : "done"}\n`);
}
await storage.close();
