// The service's page: who is there, and which view the address names. Views are in files of their own.
import { Away, askJson, canBeToken, forgetToken, hasToken, keepToken, root } from "./api.js";
import { element, inside, put } from "./dom.js";
import { forgetList, listTop, listView } from "./list.js";
import { sweepView } from "./sweep.js";

const content = document.getElementById("content");
const notice = document.getElementById("notice");
const who = document.getElementById("who");
const forget = document.getElementById("forget");
let me = null;
let leave = () => {};

const failures = new Map(); // what each of a view's looks has run into
const say = () => {
  const [text = ""] = failures.values();
  put(notice, text);
  notice.hidden = !text;
};
const leaveView = () => {
  leave();
  leave = () => {};
  failures.clear();
  say();
};

/** Hear of a failure of one of a view's looks, or by null of a success; "stop" ends the looks. */
const report = (error, look) => {
  if (error === null) {
    if (failures.delete(look)) say();
    return "";
  }
  if (error.status === 401) {
    askToken(hasToken() ? "The token is no longer valid: it has expired, or was revoked." : "The service asks for a token now.");
    return "stop";
  }
  failures.set(look, error instanceof Away ? "The service does not answer; this page goes on by itself when it does." : error.message);
  say();
  return error.status === 404 || error.status === 422 ? "stop" : "";
};

const askToken = (reason) => {
  leaveView();
  me = null;
  forgetToken();
  forgetList();
  put(who, "");
  forget.hidden = true;
  document.title = "Espalier";
  const input = element("input", undefined, { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: false });
  const wrong = element("p", reason, { className: "refused", role: "alert", id: "wrong", hidden: !reason });
  const form = element("form", undefined, { id: "ask" });
  const button = element("button", "Come in", { className: "strong" });
  inside(form, inside(element("label", "Token "), input), button);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const text = input.value.trim();
    button.disabled = true;
    try {
      if (!canBeToken(text)) throw Object.assign(new Error(), { status: 401 });
      keepToken(text);
      me = await askJson("v1/me");
      show();
    } catch (error) {
      forgetToken();
      put(wrong, error.status === 401 ? "The service does not know this token." : error.message || "The service does not answer; try again.");
      wrong.hidden = false;
      input.select();
    } finally {
      button.disabled = false;
    }
  };
  const help = element("p", "`sweep token create --owner NAME` makes one on the service's machine. It is kept until this tab is closed, and sent to this service alone.", { className: "note" });
  content.replaceChildren(element("h1", "Which token?"), wrong, form, help);
  input.focus();
};

const show = () => {
  leaveView();
  put(who, `${me.owner} (${me.role})`);
  forget.hidden = !hasToken();
  const [, sweep] = /^#\/sweeps\/([A-Za-z][A-Za-z0-9_-]{0,62})$/.exec(location.hash) ?? [];
  leave = sweep ? sweepView(content, sweep, me, report) : listView(content, me, report);
};

const begin = async () => {
  try {
    me = await askJson("v1/me");
  } catch (error) {
    if (error.status === 401) {
      askToken(hasToken() ? "The token is no longer valid: it has expired, or was revoked." : "");
      return;
    }
    report(error, begin);
    setTimeout(begin, 2000);
    return;
  }
  show();
};

forget.onclick = () => askToken("");
addEventListener("hashchange", () => {
  if (!me) return;
  show();
  content.focus({ preventScroll: true });
  scrollTo(0, document.getElementById("table") ? listTop() : 0);
});
document.querySelector(".skip").onclick = (event) => { event.preventDefault(); content.focus(); };
history.scrollRestoration = "manual"; // the list has no rows yet when a browser would scroll
put(document.getElementById("server"), root.href.replace(/\/$/, ""));
begin();
