/** A listing to its end, page by page; bounded, whatever the other side says about its pages. */
import type { Page } from "./answers.ts";

/** Entries of a page; no vault gives more. */
const PAGE = 500;
const MAX_PAGES = 10_000;

/** Everything that `fetch` gives. A vault that counts nothing has one page. */
export const allPages = async <T>(
  fetch: (request: { readonly page: number; readonly limit: number }) => Promise<Page<T>>,
): Promise<readonly T[]> => {
  const all: T[] = [];
  for (let page = 1; page <= MAX_PAGES; page += 1) {
    const { items, total } = await fetch({ page, limit: PAGE });
    all.push(...items);
    if (items.length === 0 || total === undefined || all.length >= total) break;
  }
  return all;
};
