// Small makers of elements. Whatever comes from the service is written as text.
export const element = (name, text, more = {}) => {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  return Object.assign(made, more);
};

export const inside = (holder, ...children) => {
  holder.append(...children.filter((child) => child !== null && child !== undefined));
  return holder;
};

/** Set a text only where it differs: a reader's selection and a screen reader's place stay. */
export const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

export const shown = (value) => {
  if (typeof value !== "number" || !Number.isFinite(value)) return "";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
};

export const duration = (seconds) => {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  const minutes = Math.floor((seconds % 3600) / 60);
  return `${Math.floor(seconds / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
};

export const moment = (text) => {
  const when = new Date(text);
  return Number.isNaN(when.getTime()) ? "" : when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
};

export const chip = () => element("span", "", { className: "chip" });
export const putState = (node, state) => {
  put(node, state);
  node.dataset.state = state;
};

/** A bar of how many trials have ended, of how many (some sweeps are open-ended), and how many have begun besides. */
export const progress = () => {
  const holder = element("span", undefined, { className: "progress" });
  holder.append(element("progress", undefined, { max: 1, ariaHidden: "true" }), element("span"));
  return holder;
};
export const putProgress = (holder, sweep) => {
  const { ended, wanted, running } = sweep.trials;
  holder.firstChild.value = sweep.progress;
  holder.firstChild.hidden = !wanted;
  const under = running ? `, ${running} under way` : ""; // in a search by pieces many are, and end together
  put(holder.lastChild, (wanted ? `${ended} of ${wanted}` : `${ended}`) + under);
};
