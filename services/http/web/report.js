// A sweep's report, in a frame without origin: what a sweep's owner has named, and Vega, reach nothing of this page.
import { Problem, ask, root } from "./api.js";
import { element, inside, put } from "./dom.js";
import { repeat } from "./loop.js";

const GROWS_MS = 10_000;
const SETTLES_MS = 7_000; // after the end: records that came last
const HEIGHT_MOST = 200_000;
const SERVER = root.pathname === "/" ? "" : `?${new URLSearchParams({ server: root.href })}`; // of a proxy, which the service does not know

export const reportView = (id, report) => {
  const note = element("p", "", { className: "note", id: "report-note" });
  const frame = element("iframe", undefined, { title: `The report of ${id}`, hidden: true });
  frame.setAttribute("sandbox", "allow-scripts allow-downloads");
  const save = element("button", "Save it", { type: "button", id: "save", hidden: true });
  const place = inside(element("section", undefined, { id: "report", ariaLabel: "The report" }), inside(element("div", undefined, { className: "top" }), note, save), frame);
  let [tag, text, state, settled, ready] = ["", "", "", "", false];

  const send = () => {
    if (text && ready) frame.contentWindow.postMessage({ report: text }, "*"); // it has no origin to name
  };
  const hear = (event) => {
    if (event.source !== frame.contentWindow || typeof event.data !== "object" || event.data === null) return;
    if (event.data.ready === true) {
      ready = true;
      send();
    } else if (Number.isFinite(event.data.height)) {
      frame.style.height = `${Math.min(HEIGHT_MOST, Math.max(100, Math.ceil(event.data.height)))}px`;
    }
  };
  save.onclick = () => {
    const address = URL.createObjectURL(new Blob([text], { type: "text/html" }));
    element("a", undefined, { href: address, download: `report-${id}.html` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  addEventListener("message", hear);
  frame.src = "web/frame.html";

  const look = async (signal) => {
    const now = state;
    try {
      const answer = await ask(`v1/sweeps/${id}/report${SERVER}`, { headers: tag ? { "If-None-Match": tag } : {}, signal });
      if (answer.status !== 304) {
        tag = answer.headers.get("ETag") ?? "";
        text = await answer.text();
        frame.hidden = save.hidden = false;
        send();
        place.dataset.drawn = String(Number(place.dataset.drawn ?? 0) + 1);
      }
      const time = new Date().toLocaleTimeString();
      const over = ["stopped", "finished", "failed"].includes(now);
      put(note, over ? `As of ${time}.` : `As of ${time}; it grows while the sweep runs.`);
      if (!over) return GROWS_MS;
      const last = settled === now;
      settled = now;
      return last ? null : SETTLES_MS;
    } catch (error) {
      if (!(error instanceof Problem) || ![409, 503, 429].includes(error.status)) {
        if (!text) put(note, "");
        throw error;
      }
      const never = error.status === 409 && ["stopped", "finished", "failed"].includes(now);
      put(note, never ? "No trial has begun, so there is no report." : error.message);
      if (never) return null;
      return Math.max(1000 * error.waitS, GROWS_MS / 2);
    }
  };
  let looking = null;
  let left = false;
  /** Have it follow the state of the sweep: a change is shown at once. */
  const follow = (now) => {
    if (left || now === state) return;
    state = now;
    settled = "";
    if (now === "queued" && !text) put(note, "The report comes with the first trial.");
    else if (looking) looking.now();
    else {
      put(note, "The report is being drawn.");
      looking = repeat(look, report);
    }
  };
  const stop = () => {
    left = true;
    looking?.stop();
    removeEventListener("message", hear);
  };
  return { place, follow, stop };
};
