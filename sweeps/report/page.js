"use strict";
(() => {
  const begun = performance.now();
  let report = JSON.parse(document.getElementById("report").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const tip = document.getElementById("tip");

  const element = (name, text, more = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return Object.assign(made, more);
  };
  const shown = (value) => {
    if (value === null || value === undefined) return "";
    const small = typeof value === "number" && value !== 0 && Math.abs(value) < 1e-4;
    return small ? value.toExponential() : String(value); // it has no more digits than are to be shown
  };

  // --- downloads -------------------------------------------------------------------------------------------------
  const quoted = (cell) => {
    const text = cell === null || cell === undefined ? "" : String(cell);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (titles, rows) => [titles, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  const save = (name, address) => {
    const link = element("a", undefined, { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
  };
  const saveText = (name, text) => {
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    save(name, address);
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };

  // --- figures ---------------------------------------------------------------------------------------------------
  const records = (table) =>
    table.rows.map((row) => Object.fromEntries(table.columns.map(([key], place) => [key, row[place]])));
  const configuration = (trial) => {
    const row = report.trials.rows.find((each) => each[0] === trial) ?? [];
    return report.trials.titles.slice(4).map((title, place) => [title, shown(row[place + 4])]);
  };
  const showTip = (handler, event, item, value) => {
    tip.hidden = !value;
    if (!value) return;
    tip.replaceChildren();
    const lines = typeof value === "object" ? Object.entries(value) : [["", value]];
    if (value.trial !== undefined && value.configuration === undefined) lines.push(...configuration(Number(value.trial)));
    for (const [name, text] of lines) {
      if (text === "" || text === null || text === undefined || text === "null") continue;
      const line = element("div");
      line.append(element("b", name ? `${name} ` : ""), document.createTextNode(String(text)));
      tip.append(line);
    }
    const { clientX: x, clientY: y } = event;
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 8))}px`;
  };
  const described = (figure, width) => {
    const { config, ink } = report.themes[dark.matches ? "dark" : "light"];
    const legend = { ...config.legend, columns: Math.max(1, Math.floor(width / 190)), labelLimit: Math.min(config.legend.labelLimit, width - 60) };
    const data = figure.chart.data.map((each) =>
      figure.tables[each.name] ? { ...each, values: records(figure.tables[each.name]) } : each);
    const signals = figure.chart.signals.map((each) => (each.name === "ink" ? { ...each, value: ink } : each));
    const axes = figure.chart.axes.map((axis) =>
      axis.labelLimit ? { ...axis, labelLimit: Math.min(axis.labelLimit, 0.35 * width) } : axis);
    return { ...figure.chart, width, data, signals, axes, config: { ...config, legend }, autosize: { type: "fit-x", contains: "padding" } };
  };
  const drawings = new Map();
  const draw = async (figure) => {
    const place = document.getElementById(`chart-${figure.name}`);
    const width = Math.max(240, Math.floor(place.clientWidth));
    place.style.minHeight = `${place.offsetHeight}px`; // so that nothing below jumps
    drawings.get(figure.name)?.finalize();
    const how = { mode: "vega", actions: false, renderer: "canvas", hover: true, defaultStyle: false, tooltip: showTip };
    drawings.set(figure.name, await vegaEmbed(place.firstElementChild, described(figure, width), how));
    place.style.minHeight = "";
    place.dataset.width = width;
    place.dataset.plot = drawings.get(figure.name).view.signal("width");
  };
  const drawAll = async (changed = () => true) => {
    for (const figure of report.figures) {
      if (!changed(figure)) continue;
      await draw(figure);
    }
  };
  const links = (figure) => {
    const place = document.getElementById(`links-${figure.name}`);
    const now = () => report.figures.find((each) => each.name === figure.name) ?? figure;
    for (const name of Object.keys(figure.tables)) {
      const button = element("button", `Data: ${name} (CSV)`, { type: "button" });
      button.onclick = () => {
        const table = now().tables[name];
        saveText(`${figure.name}-${name}.csv`, csv(table.columns.map((c) => c[1]), table.rows));
      };
      place.append(button);
    }
    const picture = element("button", "Picture (PNG)", { type: "button" });
    picture.onclick = async () => {
      const ground = getComputedStyle(document.body).backgroundColor;
      const view = drawings.get(figure.name).view;
      save(`${figure.name}.png`, await view.background(ground).toImageURL("png", 2));
    };
    place.append(picture);
  };

  // --- the table of trials ---------------------------------------------------------------------------------------
  const PAGE = 50;
  const table = document.getElementById("table");
  const order = { column: -1, descending: false };
  let limit = PAGE;
  const open = new Set(); // the numbers of the trials whose stories are read
  let [titles, rows, stories, numeric, words] = [[], [], [], [], []];
  const take = () => {
    ({ titles, rows, stories } = report.trials);
    numeric = titles.map((_, place) => rows.some((row) => typeof row[place] === "number"));
    words = rows.map((row) => row.map(shown).join(" ").toLowerCase());
  };

  const missing = (cell) => cell === null || cell === "";
  const compare = (one, other) =>
    typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
  const chosen = () => {
    const wanted = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = document.getElementById("state").value;
    const verdict = document.getElementById("verdict").value;
    const fits = (place) =>
      wanted.every((word) => words[place].includes(word)) &&
      (!state || rows[place][2] === state) && (!verdict || rows[place][3] === verdict);
    const places = rows.map((_, place) => place).filter(fits);
    if (order.column < 0) return places;
    return places.sort((a, b) => {
      const [one, other] = [rows[a][order.column], rows[b][order.column]];
      if (missing(one) || missing(other)) return missing(one) - missing(other); // last in either direction
      return order.descending ? compare(other, one) : compare(one, other);
    });
  };
  const curve = (points) => {
    const [width, height, edge] = [420, 110, 8];
    const positive = points.every(([, loss]) => loss > 0);
    const heights = points.map(([, loss]) => (positive ? Math.log(loss) : loss));
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    const last = points[points.length - 1][0] || 1;
    const x = (step) => edge + ((width - 2 * edge) * step) / last;
    const y = (at) => height - edge - ((height - 2 * edge) * (at - low)) / (high - low || 1);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Its curve: from ${points[0][1]} to ${points[points.length - 1][1]}`);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.map(([step], place) => `${x(step).toFixed(1)},${y(heights[place]).toFixed(1)}`).join(" "));
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", "currentColor");
    line.setAttribute("stroke-width", "2");
    svg.append(line);
    return svg;
  };
  const story = (place) => {
    const [evidence, params, points] = stories[place];
    const row = element("tr", undefined, { className: "story" });
    const held = element("td", undefined, { colSpan: titles.length });
    if (evidence) held.append(element("p", evidence));
    if (points.length > 1) {
      const [first, last] = [points[0], points[points.length - 1]];
      held.append(element("p", `${report.trials.curve}: ${shown(first[1])} at step ${first[0]}, ${shown(last[1])} at step ${last[0]}`));
      held.append(curve(points));
    }
    const list = element("dl");
    report.trials.hyperparameters.forEach((name, which) => {
      if (params[which] !== "") list.append(element("dt", name), element("dd", params[which]));
    });
    held.append(list);
    if (rows[place][2] === "complete") held.append(element("pre", `sweep best ${report.id} --trial ${rows[place][0]}${report.option} > best.yaml`));
    row.append(held);
    return row;
  };
  const line = (place) => {
    const row = element("tr", undefined, { className: rows[place][0] === report.best ? "best" : "" });
    rows[place].forEach((cell, column) => {
      const held = element("td", undefined, { className: numeric[column] ? "number" : "" });
      if (column === 0) {
        const button = element("button", shown(cell), { type: "button" });
        button.setAttribute("aria-expanded", String(open.has(cell)));
        button.setAttribute("aria-label", `the story of trial ${shown(cell)}`);
        held.append(button);
      } else {
        held.textContent = shown(cell);
        held.title = held.textContent;
      }
      row.append(held);
    });
    row.onclick = () => {
      const button = row.querySelector("button");
      const [trial] = rows[place];
      if (open.delete(trial)) row.nextElementSibling.remove();
      else {
        open.add(trial);
        row.after(story(place));
      }
      button.setAttribute("aria-expanded", String(open.has(trial)));
    };
    return row;
  };
  const list = () => {
    const places = chosen();
    const body = table.tBodies[0];
    const drawn = places.slice(0, limit).flatMap((place) => (open.has(rows[place][0]) ? [line(place), story(place)] : [line(place)]));
    body.replaceChildren(...drawn);
    document.getElementById("more").hidden = places.length <= limit;
    document.getElementById("count").textContent = `${places.length} of ${rows.length}`;
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if (column === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };
  const head = () => {
    const row = element("tr");
    titles.forEach((title, column) => {
      const cell = element("th", undefined, { className: numeric[column] ? "number" : "", scope: "col" });
      const button = element("button", title, { type: "button" });
      button.onclick = () => {
        order.descending = order.column === column && !order.descending;
        order.column = column;
        limit = PAGE;
        list();
      };
      cell.append(button);
      row.append(cell);
    });
    table.tHead.replaceChildren(row);
  };
  const choices = (id, column) => {
    const select = document.getElementById(id);
    const [chosen, values] = [select.value, [...new Set(rows.map((row) => row[column]))].filter(Boolean).sort()];
    if (chosen && !values.includes(chosen)) values.push(chosen);
    select.replaceChildren(select.options[0], ...values.map((value) => element("option", value, { value })));
    select.value = chosen;
    select.onchange = () => { limit = PAGE; list(); };
  };

  take();
  head();
  choices("state", 2);
  choices("verdict", 3);
  document.getElementById("filter").oninput = () => { limit = PAGE; list(); };
  document.getElementById("more").onclick = () => { limit += 4 * PAGE; list(); };
  document.getElementById("csv").onclick = () => saveText("trials.csv", csv(titles, rows));
  list();
  report.figures.forEach(links);
  const first = drawAll().then(() => {
    document.documentElement.dataset.drawn = String(Math.round(performance.now() - begun));
    document.documentElement.dataset.since = String(Math.round(performance.now()));
  });
  dark.addEventListener("change", () => drawAll());
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    const moved = (figure) => {
      const place = document.getElementById(`chart-${figure.name}`);
      return Math.abs(place.clientWidth - Number(place.dataset.width)) > 4;
    };
    waiting = setTimeout(() => drawAll(moved), 200);
  });

  // --- in the page of a service: the report of a sweep that goes on grows in its place ------------------------------
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const isFigure = (part) => part.id.startsWith("figure-");
  const nameOf = (part) => part.id.slice("figure-".length);
  /** Bring a part of the page up to date. What a reader has set stays: the table's controls, a figure's place. */
  const renew = (part, fresh) => {
    if (part.id === "trials") return part;
    if (!isFigure(part)) {
      const opened = [...part.querySelectorAll("details")].map((each) => each.open);
      [...fresh.querySelectorAll("details")].forEach((each, at) => { each.open = opened[at] ?? false; });
      part.replaceWith(fresh);
      return fresh;
    }
    const name = nameOf(part);
    for (const words of ["h2", "figcaption"]) part.querySelector(words).replaceWith(fresh.querySelector(words));
    const alt = fresh.querySelector(".chart").getAttribute("aria-label");
    document.getElementById(`chart-${name}`).setAttribute("aria-label", alt);
    return part;
  };
  /** Put the parts of a newer page into this one, in their order; return the names of figures that have come. */
  const renewAll = (page) => {
    const key = (part) => part.id || part.getAttribute("aria-labelledby") || part.tagName;
    const main = document.querySelector("main");
    const parts = new Map([...main.children].map((part) => [key(part), part]));
    const came = [];
    let before = null;
    for (const fresh of [...page.querySelector("main").children]) {
      const part = parts.get(key(fresh));
      parts.delete(key(fresh));
      if (part) before = renew(part, fresh);
      else {
        if (before) before.after(fresh);
        else main.prepend(fresh);
        before = fresh;
        if (isFigure(fresh)) came.push(nameOf(fresh));
      }
    }
    for (const [, part] of parts) {
      if (isFigure(part)) drawings.get(nameOf(part))?.finalize();
      part.remove();
    }
    return came;
  };
  const grow = async (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const before = report;
    report = JSON.parse(page.getElementById("report").textContent);
    const came = renewAll(page);
    const was = (figure) => before.figures.find((each) => each.name === figure.name);
    for (const figure of report.figures) {
      const place = document.getElementById(`chart-${figure.name}`);
      if (!came.includes(figure.name) && same(Object.keys(was(figure).tables), Object.keys(figure.tables))) continue;
      document.getElementById(`links-${figure.name}`).replaceChildren();
      links(figure);
    }
    const focus = document.activeElement?.closest("#table tbody tr")?.querySelector("button")?.textContent;
    take();
    if (!same(before.trials.titles, titles)) Object.assign(order, { column: -1, descending: false });
    if (!same(before.trials.titles, titles) || table.tHead.rows.length === 0) head();
    choices("state", 2);
    choices("verdict", 3);
    list();
    if (focus) [...table.tBodies[0].querySelectorAll("td button")].find((each) => each.textContent === focus)?.focus({ preventScroll: true });
    await drawAll((figure) => came.includes(figure.name) || !same(was(figure), figure));
    document.documentElement.dataset.grown = String(Number(document.documentElement.dataset.grown ?? 0) + 1);
  };
  if (self.origin === "null" && parent !== self) {
    // Only where this document has no origin: what a message brings can then do no more than the page itself.
    let growing = first;
    addEventListener("message", (event) => {
      if (event.source !== parent || typeof event.data?.report !== "string") return;
      growing = growing.then(() => grow(event.data.report));
    });
    const tell = () => parent.postMessage({ height: document.documentElement.getBoundingClientRect().height }, "*");
    new ResizeObserver(tell).observe(document.documentElement);
  }
})();
