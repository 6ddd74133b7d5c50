import { describe, expect, it } from "vitest";
import { findUser, parseUser } from "../../../../src/cli/run/user.ts";
import { isSidekeyError } from "../../../../src/core/errors.ts";

const LINE = "agent:x:1001:1002:An Agent,,,:/home/agent:/bin/bash\n";
const USER = { name: "agent", uid: 1001, gid: 1002, home: "/home/agent", shell: "/bin/bash" };

const refusalOf = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return isSidekeyError(error) && error.code === "CONFIG_USAGE" ? error.detail : String(error);
  }
};

describe("parseUser", () => {
  it("reads a line of passwd", () => {
    expect(parseUser(LINE)).toEqual(USER);
    expect(parseUser("agent:x:1001:1002:::")).toEqual({ ...USER, home: "/", shell: "/bin/sh" });
  });

  it.each(["", "agent", "agent:x::1002:::", "agent:x:-1:1002:::", "agent:x:1001:x:::", ":x:1:1:::"])(
    "makes nothing of %j",
    (line) => {
      expect(parseUser(line)).toBeUndefined();
    },
  );
});

describe("findUser", () => {
  it("asks the system for the name", () => {
    const asked: string[] = [];
    const look = (name: string): string => {
      asked.push(name);
      return LINE;
    };
    expect(findUser("agent", 0, look)).toEqual(USER);
    expect(asked).toEqual(["agent"]);
  });

  it("refuses when it is not root that asks", () => {
    expect(refusalOf(() => findUser("agent", 1000, () => LINE))).toContain("Only root");
  });

  it("refuses a user who is not there, and a number that stands for one", () => {
    expect(refusalOf(() => findUser("agent", 0, () => ""))).toBe("There is no user 'agent'.");
    expect(refusalOf(() => findUser("1001", 0, () => LINE))).toBe("There is no user '1001'.");
  });

  it.each(["-i", "--service=x", "a b", "a:b", "", "../x", "a\n"])("asks nobody for %j", (name) => {
    const look = (): string => {
      throw new TypeError("asked");
    };
    expect(refusalOf(() => findUser(name, 0, look))).toContain("There is no user");
  });

  it("refuses another name of root", () => {
    expect(refusalOf(() => findUser("toor", 0, () => "toor:x:0:0::/root:/bin/sh"))).toContain("is root");
  });
});
