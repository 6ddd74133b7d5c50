/** The body of an answer as a checked value. Must never quote what it read, and never guess. */
import type * as z from "zod";
import { BadAnswerError } from "../errors.ts";
import type { WireAnswer } from "./wire.ts";

/** The document, unchecked. `quiet`: undefined where there is none. Errors: CLIENT_BAD_ANSWER. */
export const readJson = (answer: WireAnswer, origin: string, manner: "strict" | "quiet"): unknown => {
  const fail = (why: string): undefined => {
    if (manner === "quiet") return undefined;
    throw badAnswer(answer, origin, why);
  };
  if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(answer.header("content-type") ?? ""))
    return fail("is no JSON");
  if (isEncoded(answer)) return fail("is encoded, which was not asked for");
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(answer.body));
  } catch {
    // What the parser says quotes the text.
    return fail("is not JSON in UTF-8");
  }
};

/** A body that is no JSON document, such as one of lines. Errors: CLIENT_BAD_ANSWER. */
export const readText = (answer: WireAnswer, origin: string, mediaType: string): string => {
  const [type = ""] = (answer.header("content-type") ?? "").split(";");
  if (type.trim().toLowerCase() !== mediaType) throw badAnswer(answer, origin, `is no ${mediaType}`);
  if (isEncoded(answer)) throw badAnswer(answer, origin, "is encoded, which was not asked for");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(answer.body);
  } catch {
    throw badAnswer(answer, origin, "is not in UTF-8");
  }
};

const isEncoded = (answer: WireAnswer): boolean =>
  (answer.header("content-encoding") ?? "identity").toLowerCase() !== "identity";

/** The document of a success. Errors: CLIENT_BAD_ANSWER, which names the members that are wrong and none of their values. */
export const parseAnswer = <T>(answer: WireAnswer, origin: string, schema: z.ZodType<T>): T => {
  const parsed = schema.safeParse(readJson(answer, origin, "strict"));
  if (parsed.success) return parsed.data;
  throw badAnswer(answer, origin, `has the wrong shape (${membersOf(parsed.error)})`);
};

/** Only names that the schema itself has: those of a record come from the answer. */
const membersOf = ({ issues }: z.ZodError): string => {
  const names = issues.slice(0, 3).map(({ path }) =>
    path
      .filter((part) => typeof part === "string")
      .slice(0, 2)
      .join("."),
  );
  return [...new Set(names)].map((name) => (/^[a-z_.]{1,40}$/.test(name) ? name : "the whole")).join(", ");
};

const badAnswer = ({ status }: WireAnswer, origin: string, why: string): BadAnswerError =>
  new BadAnswerError({
    detail: `The answer (${status}) of ${origin} ${why}.`,
    hint: "Check that the address is a vault's, and that both are of fitting versions.",
    httpStatus: status,
  });
