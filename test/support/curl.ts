/** Whether the tests with curl can run. With SIDEKEY_TEST_ALL=1 a client that is missing is a failure, never a skip. */
import { spawnSync } from "node:child_process";

export const noCurl =
  process.env["SIDEKEY_TEST_ALL"] !== "1" && spawnSync("curl", ["--version"], { stdio: "ignore" }).status !== 0;
