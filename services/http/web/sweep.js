// One sweep: its state, what may be done about it, its log, its report.
import { Away, Problem, askJson } from "./api.js";
import { chip, duration, element, inside, moment, progress, put, putProgress, putState, shown } from "./dom.js";
import { logView } from "./log.js";
import { repeat } from "./loop.js";
import { reportView } from "./report.js";

const LOOK_MS = 2000;
const QUIET_MS = 15_000; // of a sweep that has ended, which somebody may resume
const OVER = ["stopped", "finished", "failed"];

const facts = (sweep) => [
  ["best", sweep.best ? `${sweep.best.metric} ${shown(sweep.best.value)} (trial ${sweep.best.trial})` : "none yet"],
  ["trials", Object.entries(sweep.trials).filter(([name, count]) => count && !["wanted", "ended"].includes(name))
    .map(([name, count]) => `${count} ${name}`).join(", ") || "none yet"],
  ["waits for", sweep.position === null ? "" : `${sweep.position} before it`],
  ["owner", sweep.owner],
  ["handed in", moment(sweep.created)],
  ["ran", `${duration(sweep.seconds)} of at most ${duration(3600 * sweep.hours)}`],
  ["GPUs", sweep.gpus ? shown(sweep.gpus) : ""],
  ["started again", sweep.attempt ? sweep.attempt === 1 ? "once" : `${sweep.attempt} times` : ""],
];

/** Return a dialog that asks before a stop; it resolves to whether to go on. */
const confirmation = (id) => {
  const dialog = element("dialog", undefined, { id: "confirm", ariaLabel: "Stop the sweep" });
  const form = element("form", undefined, { method: "dialog" });
  inside(form,
    element("p", `Stop ${id}? It writes its checkpoints and ends; "Resume" goes on from there.`),
    element("button", "Stop it", { value: "yes", className: "strong" }),
    element("button", "Let it run", { value: "no", autofocus: true }));
  inside(dialog, form);
  dialog.ask = () => new Promise((resolve) => {
    const closed = () => {
      if (dialog.open) return; // the event of the time before may come late
      dialog.removeEventListener("close", closed);
      resolve(dialog.returnValue === "yes");
    };
    dialog.returnValue = "";
    dialog.addEventListener("close", closed);
    dialog.showModal();
  });
  return dialog;
};

const mlflowLink = () => element("a", "MLflow's page", { hidden: true, target: "_blank", rel: "noopener noreferrer" });
const putLink = (link, address) => {
  let url = null;
  try {
    url = new URL(address ?? "");
  } catch {
    // none yet
  }
  link.hidden = !url || !["http:", "https:"].includes(url.protocol);
  if (!link.hidden) link.href = url.href;
};

export const sweepView = (place, id, me, report) => {
  const base = `v1/sweeps/${encodeURIComponent(id)}`;
  const [state, bar, why] = [chip(), progress(), element("p", "", { className: "reason", id: "reason", hidden: true })];
  state.setAttribute("role", "status");
  const list = element("dl", undefined, { id: "facts" });
  const refused = element("p", "", { className: "refused", role: "alert", id: "refused", hidden: true });
  const stop = element("button", "Stop", { type: "button", id: "stop", hidden: true });
  const resume = element("button", "Resume", { type: "button", id: "resume", hidden: true });
  const link = mlflowLink();
  const [log, drawn, sure] = [logView(id, report), reportView(id, report), confirmation(id)];
  let shownFacts = "";
  let left = false;

  const update = (sweep) => {
    putState(state, sweep.state);
    putProgress(bar, sweep);
    put(why, sweep.reason);
    why.hidden = !sweep.reason;
    why.dataset.state = sweep.state;
    const rows = facts(sweep).filter(([, text]) => text);
    if (JSON.stringify(rows) !== shownFacts) {
      shownFacts = JSON.stringify(rows);
      list.replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
    }
    const may = me.role !== "read";
    stop.hidden = !may || OVER.includes(sweep.state) || sweep.state === "stopping";
    resume.hidden = !may || !["stopped", "failed"].includes(sweep.state);
    putLink(link, sweep.mlflow.page);
    document.title = `${sweep.state}${sweep.trials.wanted ? ` ${Math.round(100 * sweep.progress)} %` : ""}: ${id}`;
    if (sweep.state === "failed" && before !== "failed") log.place.open = true;
    if (before && sweep.attempt !== attempt) log.again();
    [before, attempt] = [sweep.state, sweep.attempt];
    drawn.follow(sweep.state);
    document.documentElement.dataset.state = sweep.state;
  };
  let [before, attempt] = ["", 0];
  const look = async (signal) => {
    const sweep = await askJson(base, { signal });
    update(sweep);
    return OVER.includes(sweep.state) ? QUIET_MS : LOOK_MS;
  };
  const looking = repeat(look, report);

  const act = async (button, what) => {
    button.disabled = true;
    refused.hidden = true;
    try {
      const sweep = await askJson(`${base}/${what}`, { method: "POST" });
      if (left) return;
      update(sweep);
      looking.now();
    } catch (error) {
      if (left) return;
      if (!(error instanceof Problem) && !(error instanceof Away)) throw error;
      if (error.status === 401) report(error, act);
      put(refused, error.message || "The service does not answer; nothing was changed.");
      refused.hidden = false;
    } finally {
      button.disabled = false;
    }
  };
  stop.onclick = async () => (await sure.ask()) && act(stop, "stop");
  resume.onclick = () => act(resume, "resume");

  const top = inside(element("div", undefined, { className: "top" }), state, bar, stop, resume, link);
  place.replaceChildren(element("p"), element("h1", id), top, why, refused, list, log.place, drawn.place, sure);
  place.firstChild.append(element("a", "All sweeps", { href: "#/" }));
  return () => {
    left = true;
    for (const each of [looking, log, drawn]) each.stop();
    delete document.documentElement.dataset.state;
  };
};
