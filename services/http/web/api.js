// Requests to the service. The token is kept for this tab alone, and goes nowhere but into a header.
const KEY = "espalier.token";
/** The service's address, which may be a path of a proxy. */
export const root = new URL(".", document.baseURI);
let token = sessionStorage.getItem(KEY) ?? "";

/** An answer that is a problem: its message is the service's own sentence. */
export class Problem extends Error {
  constructor(status, message, waitS) {
    super(message);
    this.status = status;
    this.waitS = waitS;
  }
}

/** No answer: the service, or the network, is away. */
export class Away extends Error {}

export const hasToken = () => token !== "";
export const canBeToken = (text) => /^[\x21-\x7e]{1,500}$/.test(text);
export const keepToken = (text) => {
  token = text;
  sessionStorage.setItem(KEY, text);
};
export const forgetToken = () => {
  token = "";
  sessionStorage.removeItem(KEY);
};

const problemOf = async (answer) => {
  const waitS = Number(answer.headers.get("Retry-After")) || 0;
  try {
    const { detail } = await answer.json();
    if (typeof detail === "string") return new Problem(answer.status, detail, waitS);
  } catch {
    if (answer.status >= 502) return new Away(); // a proxy's own page, while the service is away
  }
  return new Problem(answer.status, `it answered ${answer.status}`, waitS);
};

/** Return an answer; `path` is below the service's address. Throws Problem and Away. */
export const ask = async (path, { method = "GET", headers = {}, signal } = {}) => {
  const all = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
  let answer;
  try {
    answer = await fetch(new URL(path, root), { method, headers: all, signal, cache: "no-store", redirect: "error" });
  } catch (error) {
    throw signal?.aborted ? error : new Away();
  }
  if (answer.ok || answer.status === 304) return answer;
  throw await problemOf(answer);
};

export const askJson = async (path, more) => {
  const answer = await ask(path, more);
  try {
    return await answer.json();
  } catch {
    throw new Away();
  }
};

const eventOf = (text) => {
  const fields = {};
  for (const line of text.split("\n")) {
    const [, name, value] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  return fields.data === undefined ? null : { kind: fields.event, id: fields.id, data: JSON.parse(fields.data) };
};

/** Yield the events of a stream until it breaks off or ends. EventSource could not send the token. */
export const stream = async function* (path, headers, signal) {
  const answer = await ask(path, { headers: { ...headers, Accept: "text/event-stream" }, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw signal?.aborted ? error : new Away();
    }
    if (part.done) return;
    const texts = (rest + part.value).split("\n\n");
    rest = texts.pop();
    yield* texts.map(eventOf).filter(Boolean);
  }
};
