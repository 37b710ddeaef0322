// Repeated looks at the service: none while the tab is hidden, fewer while the service is away.
import { Away, Problem } from "./api.js";

const AWAY_MS = [1000, 2000, 4000, 8000];

/**
 * Run a job again and again: it returns the milliseconds to its next turn, or null for the last.
 * report: is told of each failure, or by null of a success, and by whom; "stop" ends the looks.
 * Return an object to stop it, or to have it run now.
 */
export const repeat = (job, report) => {
  const stopping = new AbortController();
  let timer = 0;
  let running = false;
  let failures = 0;
  let again = false;
  const self = {};

  const next = (ms) => {
    clearTimeout(timer);
    if (!stopping.signal.aborted) timer = setTimeout(turn, ms);
  };
  const failed = (error) => {
    if (stopping.signal.aborted) return;
    if (!(error instanceof Away) && !(error instanceof Problem)) throw error;
    const away = AWAY_MS[Math.min(failures, AWAY_MS.length - 1)];
    failures += 1;
    if (report(error, self) === "stop") return;
    next(error instanceof Problem ? Math.max(1000 * error.waitS, 5000) : away);
  };
  const turn = async () => {
    if (stopping.signal.aborted || running || document.hidden) return;
    running = true;
    again = false;
    try {
      const ms = await job(stopping.signal);
      if (stopping.signal.aborted) return;
      report(null, self);
      failures = 0;
      if (again) next(0);
      else if (ms !== null) next(ms);
    } catch (error) {
      failed(error);
    } finally {
      running = false;
    }
  };
  const now = () => {
    again = true;
    next(0);
  };
  document.addEventListener("visibilitychange", () => document.hidden || next(0), { signal: stopping.signal });
  next(0);
  return { now, stop: () => { stopping.abort(); clearTimeout(timer); } };
};
