import {
  chmodSync,
  chownSync,
  closeSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findExposure } from "../../../src/core/file-ownership.ts";

const isRoot = process.getuid?.() === 0;
/** Owns nothing here, and is not root. */
const STRANGER = 64_321;

let root = "";
let file = "";
beforeEach(() => {
  // Links on the way to the temporary directory are not what is tested.
  root = realpathSync(mkdtempSync(join(tmpdir(), "sidekey-ownership-")));
  chmodSync(root, 0o755);
  file = join(root, "sidekey.yaml");
  writeFileSync(file, "version: 1\n", { mode: 0o644 });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Gives a path away, where this process may: else the question is asked as somebody who owns nothing. */
const asStranger = (path: string): number => {
  if (!isRoot) return STRANGER;
  lchownSync(path, STRANGER, STRANGER);
  return 0;
};

describe("a file that nobody else can change", () => {
  it.each([0o600, 0o640, 0o644, 0o400, 0o755])("is fine with mode %o", (mode) => {
    chmodSync(file, mode);
    expect(findExposure(file)).toBeUndefined();
  });

  it("is fine when it is not there: reading says so", () => {
    expect(findExposure(join(root, "none"))).toBeUndefined();
    expect(findExposure(join(file, "below-a-file"))).toBeUndefined();
  });

  it("is fine in a sticky directory, where others cannot replace it", () => {
    chmodSync(root, 0o1777);
    expect(findExposure(file)).toBeUndefined();
  });

  it("is fine behind links, relative and absolute", () => {
    mkdirSync(join(root, "data"), { mode: 0o755 });
    symlinkSync("..", join(root, "data", "up"));
    symlinkSync("data/up/sidekey.yaml", join(root, "relative"));
    symlinkSync(file, join(root, "absolute"));
    expect(findExposure(join(root, "relative"))).toBeUndefined();
    expect(findExposure(join(root, "absolute"))).toBeUndefined();
  });

  it("is fine when it comes by an open descriptor", () => {
    const descriptor = openSync(file, "r");
    expect(findExposure(`/dev/fd/${descriptor}`)).toBeUndefined();
    closeSync(descriptor);
  });

  it.runIf(isRoot)("is fine when it is root's, whoever asks", () => {
    expect(findExposure(file, STRANGER)).toBeUndefined();
  });

  it("is fine where users have no numbers", () => {
    chmodSync(file, 0o666);
    // As on Windows.
    const { getuid } = process;
    Reflect.deleteProperty(process, "getuid");
    const found = findExposure(file);
    Object.assign(process, { getuid });
    expect(found).toBeUndefined();
  });
});

describe("somebody else could change", () => {
  it.each([0o664, 0o646, 0o666, 0o622])("a file with mode %o", (mode) => {
    chmodSync(file, mode);
    expect(findExposure(file)).toEqual({
      path: file,
      reason: `can be written by others (mode 0${mode.toString(8)})`,
      remedy: `Look at what is in it, then: chmod go-w ${file}`,
    });
  });

  it("a file of another user", () => {
    const uid = asStranger(file);
    const found = isRoot ? findExposure(file, uid) : findExposure(root, uid);
    expect(found?.reason).toMatch(/^belongs to another user \(uid \d+\)$/);
    expect(found?.remedy).toContain(`chown ${uid} `);
  });

  it.each([0o777, 0o775])("a file in a directory with mode %o", (mode) => {
    chmodSync(root, mode);
    expect(findExposure(file)).toMatchObject({
      path: root,
      reason: `can be written by others (mode 0${mode.toString(8)})`,
    });
  });

  it("what a link leads to, and the directory of any link on the way", () => {
    const open = join(root, "open");
    mkdirSync(open);
    symlinkSync(file, join(open, "link"));
    symlinkSync("open", join(root, "way"));
    chmodSync(open, 0o777);
    expect(findExposure(join(root, "way", "link"))).toMatchObject({ path: open });
    chmodSync(open, 0o755);
    chmodSync(file, 0o666);
    expect(findExposure(join(root, "way", "link"))).toMatchObject({ path: join(root, "way", "link") });
  });

  it.runIf(isRoot)("a link of another user in a sticky directory", () => {
    chmodSync(root, 0o1777);
    const link = join(root, "link");
    symlinkSync(file, link);
    asStranger(link);
    expect(findExposure(link)).toMatchObject({ path: link, reason: `belongs to another user (uid ${STRANGER})` });
  });

  it.runIf(isRoot)("a file of ours in a directory of another user", () => {
    chownSync(root, STRANGER, STRANGER);
    expect(findExposure(file)).toMatchObject({ path: root });
  });
});
