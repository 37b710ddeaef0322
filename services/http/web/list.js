// The list of sweeps: filtered by the service, sorted here, and looked at again while it is open.
import { askJson } from "./api.js";
import { chip, duration, element, inside, moment, progress, put, putProgress, putState, shown } from "./dom.js";
import { repeat } from "./loop.js";

const PAGE = 50;
const MOST = 200; // sweeps in one answer
const LOOK_MS = 4000;
const STATES = ["queued", "starting", "running", "stopping", "stopped", "finished", "failed"];
const best = (sweep) => (sweep.best ? sweep.best.value : null);
const COLUMNS = [
  { title: "sweep", of: (sweep) => sweep.id },
  { title: "owner", of: (sweep) => sweep.owner, admin: true, less: true },
  { title: "state", of: (sweep) => sweep.state },
  { title: "progress", of: (sweep) => sweep.progress },
  { title: "best", of: best, number: true },
  { title: "handed in", of: (sweep) => sweep.created, less: true },
  { title: "ran", of: (sweep) => sweep.seconds, number: true, less: true },
];

const compare = (one, other) =>
  typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));

/** Return the cells of one sweep, and how to write a newer state into them. */
const line = (sweep, columns) => {
  const row = element("tr");
  const cells = Object.fromEntries(columns.map((column) => {
    const cell = element("td", undefined, { className: [column.number && "number", column.less && "less"].filter(Boolean).join(" ") });
    row.append(cell);
    return [column.title, cell];
  }));
  cells.sweep.append(element("a", sweep.id, { href: `#/sweeps/${encodeURIComponent(sweep.id)}` }));
  if (cells.owner) cells.sweep.append(element("span", sweep.owner, { className: "small" }));
  const [state, bar] = [chip(), progress()];
  cells.state.append(state);
  cells.progress.append(bar);
  const update = (now) => {
    if (cells.owner) put(cells.owner, now.owner);
    putState(state, now.state);
    cells.state.title = now.reason;
    putProgress(bar, now);
    put(cells.best, now.best ? shown(now.best.value) : "");
    cells.best.title = now.best ? `${now.best.metric} of trial ${now.best.trial}` : "";
    put(cells["handed in"], moment(now.created));
    put(cells.ran, now.seconds ? duration(now.seconds) : "");
  };
  return { row, update };
};

/** What the list looked like when it was left. */
let before = null;
export const forgetList = () => { before = null; };
export const listTop = () => before?.top ?? 0;

export const listView = (place, me, report) => {
  const columns = COLUMNS.filter((column) => !column.admin || me.role === "admin");
  const wanted = before?.wanted ?? { like: "", state: "", limit: PAGE };
  const order = before?.order ?? { column: null, descending: false };
  const lines = new Map();
  let [sweeps, next] = [[], null];

  const filter = element("input", undefined, { type: "search", id: "filter", placeholder: "part of a name or an id", autocomplete: "off", maxLength: 64, value: wanted.like });
  const states = element("select", undefined, { id: "state" });
  states.append(element("option", "all", { value: "" }), ...STATES.map((state) => element("option", state, { value: state })));
  states.value = wanted.state;
  const count = element("span", "", { id: "count", role: "status" });
  const more = element("button", "Show more", { type: "button", id: "more", hidden: true });
  const table = element("table", undefined, { id: "table" });
  const [head, body] = [table.createTHead().insertRow(), table.createTBody()];
  const empty = element("p", "", { className: "note", hidden: true });

  const sorted = () => {
    if (!order.column) return sweeps;
    const { of } = order.column;
    return [...sweeps].sort((a, b) => {
      const [one, other] = [of(a), of(b)];
      if (one === null || other === null) return (one === null) - (other === null); // last in either direction
      return order.descending ? compare(other, one) : compare(one, other);
    });
  };
  const list = () => {
    const rows = sorted().map((sweep) => {
      if (!lines.has(sweep.id)) lines.set(sweep.id, line(sweep, columns));
      lines.get(sweep.id).update(sweep);
      return lines.get(sweep.id).row;
    });
    const same = rows.length === body.rows.length && rows.every((row, at) => row === body.rows[at]);
    if (!same) body.replaceChildren(...rows);
    [...head.cells].forEach((cell, at) => {
      if (columns[at] === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };
  for (const column of columns) {
    const cell = element("th", undefined, { scope: "col", className: column.less ? "less" : "" });
    const button = element("button", column.title, { type: "button" });
    button.onclick = () => {
      order.descending = order.column === column && !order.descending;
      order.column = column;
      list();
    };
    if (column.number) cell.classList.add("number");
    head.append(inside(cell, button));
  }

  const page = async (from, limit, signal) => {
    const query = new URLSearchParams({ limit });
    if (from) query.set("before", from);
    if (wanted.state) query.set("state", wanted.state);
    if (wanted.like) query.set("like", wanted.like);
    return askJson(`v1/sweeps?${query}`, { signal });
  };
  const update = (seen, following) => {
    [sweeps, next] = [seen, following];
    list();
    more.hidden = next === null;
    put(count, `${seen.length} ${seen.length === 1 ? "sweep" : "sweeps"}${next === null ? "" : ", and more"}`);
    empty.hidden = seen.length > 0;
    put(empty, wanted.like || wanted.state ? "No sweep is like that." : "No sweep yet. `sweep submit` hands one in; see below.");
    table.hidden = seen.length === 0;
    document.documentElement.dataset.listed = String(seen.length);
  };
  const look = async (signal) => {
    const asked = { ...wanted };
    const seen = [];
    let following = null;
    do {
      const answer = await page(following, Math.min(MOST, asked.limit - seen.length), signal);
      seen.push(...answer.sweeps);
      following = answer.next;
    } while (following !== null && seen.length < asked.limit);
    if (asked.like !== wanted.like || asked.state !== wanted.state) return 0; // typed on meanwhile
    update(seen, following);
    return LOOK_MS;
  };
  const looking = repeat(look, report);
  let typing = 0;
  filter.oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(() => { Object.assign(wanted, { like: filter.value.trim(), limit: PAGE }); looking.now(); }, 250);
  };
  states.onchange = () => { Object.assign(wanted, { state: states.value, limit: PAGE }); looking.now(); };
  more.onclick = () => { wanted.limit += PAGE; looking.now(); };

  const filters = inside(
    element("div", undefined, { className: "filters" }),
    inside(element("label", "Filter "), filter), inside(element("label", "State "), states), count,
  );
  const wide = element("div", undefined, { className: "wide", tabIndex: 0, role: "region", ariaLabel: "The list of sweeps" });
  place.replaceChildren(element("h1", me.role === "admin" ? "Sweeps of all owners" : "Your sweeps"), filters, inside(wide, table), empty, more);
  document.title = "Sweeps - Espalier";
  if (before) update(before.sweeps, before.next);
  return () => {
    looking.stop();
    clearTimeout(typing);
    before = { wanted: { ...wanted, like: filter.value.trim() }, order, sweeps, next, top: scrollY };
  };
};
