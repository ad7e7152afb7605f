// Tables that sort by a column.

import { h } from "./dom.js";

function text(value, digits) {
  if (value === null) return "";
  return typeof value === "number" ? value.toFixed(digits).replace("-", "−") : value;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

// `table`: its title, its columns (name, and digits of numbers or null for text), and its rows.
export function createTable({ title, columns, rows }) {
  const body = h("tbody");
  const headers = columns.map(({ name, digits }, place) => h("th",
    { scope: "col", class: digits === null ? null : "number", "aria-sort": "none" },
    h("button", { type: "button", onclick: () => sort(place) }, name)));

  function fill(shown) {
    body.replaceChildren(...shown.map((row) => h("tr", {}, ...row.map((value, place) =>
      h("td", { class: columns[place].digits === null ? null : "number" },
        text(value, columns[place].digits))))));
  }

  function sort(place) {
    const down = headers[place].getAttribute("aria-sort") === "ascending";
    headers.forEach((header, other) => header.setAttribute("aria-sort",
      other !== place ? "none" : down ? "descending" : "ascending"));
    const sorted = [...rows].sort((a, b) => compare(a[place], b[place]));
    fill(down ? sorted.reverse() : sorted);
  }

  fill(rows);
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": title },
    h("table", {}, h("caption", {}, title), h("thead", {}, h("tr", {}, ...headers)), body));
}
