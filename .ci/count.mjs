// Counts a vitest JSON report for .ci/run: prints "PASSED FAILED", and says on standard error what did not pass. A
// skipped test counts as failed: CI installs what every suite needs. Arguments: the report, the runner's exit status.
import { existsSync, readFileSync } from "node:fs";

const [path = "", status = "1"] = process.argv.slice(2);
const report = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : { testResults: [] };
const say = (line) => process.stderr.write(`${line}\n`);

let passed = 0;
let failed = 0;
for (const file of report.testResults) {
  // A file that did not load has no test that could fail.
  if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")) {
    say(`did not run: ${file.name}`);
    failed += 1;
  }
  for (const test of file.assertionResults) {
    if (test.status === "passed") {
      passed += 1;
      continue;
    }
    say(`${test.status}: ${file.name}: ${test.fullName}`);
    failed += 1;
  }
}
// The report does not tell of errors outside of tests; the runner's status does. No test at all is no success either.
if (failed === 0 && (status !== "0" || passed === 0)) {
  say(`the runner ended with ${status}, ${passed} tests passed, and none says what failed`);
  failed += 1;
}
process.stdout.write(`${passed} ${failed}\n`);
