// The driver's log: its end at first, then what is added. Little of it is in the page, however long it is.
import { Away, stream } from "./api.js";
import { element, inside, put } from "./dom.js";
import { repeat } from "./loop.js";

const FIRST_BYTES = 2 ** 17;
const MOST = 2 ** 19; // characters in the page
const LINE_MOST = 2 ** 14; // of a line that does not end
const AGAIN_MS = 1000;
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|[ -/]*[0-~])/g;
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Return what is left of a line that was written over, as a progress bar is. */
const lastly = (line) => {
  const end = line.endsWith("\r") ? line.slice(0, -1) : line;
  return end.slice(end.lastIndexOf("\r") + 1);
};

/** Return the text of a terminal without what steers it: colours, cursors, and marks that reverse the reading order. */
export const plain = (text) => text.replace(ANSI, "").split("\n").map(lastly).join("\n").replace(UNSEEN, "");

export const logView = (id, report) => {
  const note = element("p", "", { className: "note", hidden: true });
  const text = element("pre", undefined, { className: "log", tabIndex: 0, role: "region", ariaLabel: "The log" });
  const tail = document.createTextNode(""); // the line that has not ended
  text.append(tail);
  const parts = [];
  let [length, rest, last, beheaded] = [0, "", "", false];
  let looking = null;

  const leftOut = (megabytes) => {
    const much = megabytes >= 0.1 ? `${megabytes.toFixed(1)} MB` : "The text";
    put(note, `${much} before this is left out here; all of it: sweep logs ${id}`);
    note.hidden = false;
  };
  const add = (piece) => {
    const below = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    let all = rest + piece;
    if (beheaded && all.includes("\n")) {
      all = all.slice(all.indexOf("\n") + 1);
      beheaded = false;
    }
    const end = all.length - all.lastIndexOf("\n") > LINE_MOST ? all.length : all.lastIndexOf("\n") + 1;
    rest = all.slice(end);
    const whole = plain(all.slice(0, end)).slice(-MOST);
    if (whole) {
      const part = document.createTextNode(whole);
      parts.push(part);
      tail.before(part);
      length += whole.length;
    }
    tail.data = plain(rest);
    while (length > MOST && parts.length > 1) {
      const first = parts.shift();
      length -= first.data.length;
      first.remove();
      leftOut(0);
    }
    if (below) text.scrollTop = text.scrollHeight;
  };
  const follow = async (signal) => {
    const headers = last ? { "Last-Event-ID": last } : {};
    for await (const { kind, id: number, data } of stream(`v1/sweeps/${id}/logs?last=${FIRST_BYTES}`, headers, signal)) {
      if (signal.aborted) return null;
      last = number || last;
      if (kind === "skipped") {
        beheaded = true;
        leftOut(data.bytes / 1e6);
      } else if (kind === "log") add(data);
      else if (kind === "end") {
        if (!length && !rest) tail.data = "(nothing yet)";
        return null;
      }
      text.dataset.read = last;
    }
    throw new Away(); // a stream that breaks off goes on from its last event
  };
  let left = false; // the event `toggle` may come after its view was left
  const begin = () => { if (!left) looking ??= repeat(follow, report); };
  const end = () => { looking?.stop(); looking = null; };
  const details = element("details", undefined, { id: "log" });
  inside(details, element("summary", "Log"), note, text);
  details.ontoggle = () => (details.open ? begin() : end());
  /** Begin again: another attempt of the sweep has a log of its own. */
  const again = () => {
    end();
    for (const part of parts.splice(0)) part.remove();
    tail.data = "";
    [length, rest, last, beheaded] = [0, "", "", false];
    note.hidden = true;
    if (details.open) begin();
  };
  return { place: details, stop: () => { left = true; end(); }, again };
};
