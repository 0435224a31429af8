// Uses the chat of docs/clients.md as a person does: with React in a page without a browser, against a running system.

import assert from "node:assert/strict";
import { Window } from "happy-dom";
import createClient from "openapi-fetch";
import type { ReactElement } from "react";
import type { paths } from "./api.d.ts";
import { load } from "./chat.ts";
import { Session } from "./session.ts";

const [url, mobile, version] = ["API_URL", "MOBILE", "VERSION"].map((name) => {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}) as [string, string, string];

// A page, in which React draws. `fetch` stays that of Node.
const page = new Window({ url });
const window = page as unknown as typeof globalThis.window;
Object.assign(globalThis, { window, document: window.document });
const { createRoot } = await import("react-dom/client");
const { Conversation, Room, open } = await import("./room.tsx");

// What is sent, and what a test wants to come back instead of the system's response.
const network = globalThis.fetch;
let sent: { method: string; path: string; key: string | null }[] = [];
/** Answers the next post to a stream. */
let instead: ((request: Request) => Promise<Response>) | undefined;
globalThis.fetch = async (input, init) => {
  const request = new Request(input, init);
  const { pathname: path } = new URL(request.url);
  sent.push({ method: request.method, path, key: request.headers.get("idempotency-key") });
  if (instead && request.method === "POST" && path.endsWith("/stream")) {
    const answer = instead;
    instead = undefined;
    return answer(request);
  }
  return network(request);
};
const posts = () => sent.filter(({ method, path }) => method === "POST" && path.endsWith("/stream"));
const refreshes = () => sent.filter(({ path }) => path === "/auth/refresh").length;

function refusal(seconds: number): Response {
  const problem = { type: "/problems/over-limit", status: 429, policy: "open-streams", detail: "Too many streams." };
  return Response.json(problem, { status: 429, headers: { "retry-after": `${seconds}` } });
}

type Maybe<T> = T | undefined | null | false | "";

async function until<T>(what: string, look: () => Maybe<T> | Promise<Maybe<T>>): Promise<T> {
  for (const end = Date.now() + 180_000; Date.now() < end; await new Promise((next) => setTimeout(next, 20))) {
    const found = await look();
    if (found) return found;
  }
  assert.fail(`it never happened: ${what}\n${document.body.innerHTML}`);
}

const api = createClient<paths>({ baseUrl: url });
const code = await api.POST("/auth/signup", { body: { mobile } });
assert(code.data?.otp, JSON.stringify(code.error));
const proof = { mobile, challenge: code.data.challenge, otp: code.data.otp };
const signedIn = await api.POST("/auth/verify-otp", { body: proof });
assert(signedIn.data, JSON.stringify(signedIn.error));
api.use({
  onRequest({ request }) {
    request.headers.set("authorization", `Bearer ${signedIn.data.access_token}`);
  },
});

async function newRoom(): Promise<string> {
  const room = await api.POST("/chatroom", { body: { title: "Trip to Lisbon" } });
  assert(room.data, JSON.stringify(room.error));
  return room.data.id;
}

async function stored(room: string) {
  const { data } = await api.GET("/chatroom/{id}", { params: { path: { id: room } } });
  assert(data);
  return data.messages;
}

async function post(room: string, content: string): Promise<string> {
  const posted = await api.POST("/chatroom/{id}/message", { params: { path: { id: room } }, body: { content } });
  assert(posted.data, JSON.stringify(posted.error));
  return posted.data.id;
}

/** Opens a page, and forgets what was sent before. */
function draw(element: ReactElement) {
  sent = [];
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  root.render(element);
  const find = <E extends HTMLElement>(selector: string) => place.querySelector<E>(selector);
  return {
    find,
    shown: () => [...place.querySelectorAll("p:not([role])")].map((line) => line.textContent!),
    line: (id: string) => find(`[id="${id}"]`)?.textContent,
    alert: () => find("[role=alert]")?.textContent,
    isBusy: () => find<HTMLButtonElement>("form button")!.disabled,
    click: async (name: string) => (await until(`the button ${name}`, () => find(`button[name=${name}]`))).click(),
    async say(content: string) {
      await until("the form", () => find("form button:not([disabled])"));
      find<HTMLTextAreaElement>("textarea")!.value = content;
      find("form")!.dispatchEvent(new window.Event("submit", { bubbles: true, cancelable: true }));
    },
    close() {
      root.unmount();
      place.remove();
    },
  };
}

const invalid = { access_token: "e30.e30.e30" };
const session = new Session(url, url, { ...signedIn.data, ...invalid });

// An access token that expired is refreshed once, however many requests meet a 401. What is stored is shown.
const room = await newRoom();
const greeting = await post(room, "hello");
await until("a reply", async () => (await stored(room))[0]?.status === "answered");
const chat = draw(<Room session={session} room={room} />);
await until("the stored messages", () => chat.line(greeting) === "echo: hello");
assert.equal(chat.line(`${greeting}-prompt`), "hello");
assert.equal(refreshes(), 1);
session.tokens = { ...session.tokens, ...invalid };
await Promise.all([load(session, room), load(session, room), load(session, room)]);
assert.equal(refreshes(), 2);

/** Says something, and waits until the reply is shown to its end, which is what is stored. */
async function say(content: string): Promise<string[]> {
  const before = (await stored(room)).length;
  const seen = new Set<string>();
  await chat.say(content);
  await until(`the reply to ${content}`, async () => {
    seen.add(chat.shown().at(-1)!);
    return !chat.isBusy() && (await stored(room))[before]?.status === "answered";
  });
  await isAsStored();
  return [...seen];
}

async function isAsStored() {
  const last = (await stored(room)).at(-1);
  assert(last?.status === "answered", JSON.stringify(last));
  await until("what is stored", () => chat.line(last.id) === last.reply.content);
}

// Live: the text grows while it is written.
assert((await say(`live in a page with ${version}`)).length > 4, "it did not grow");

// Once more: another message, with another key.
sent = [];
const count = (await stored(room)).length;
await chat.click("again");
await until("another reply", async () => !chat.isBusy() && (await stored(room))[count]?.status === "answered");
await isAsStored();
sent = [];
await say("hello");
await say("hello");
assert.equal(new Set(posts().map(({ key }) => key)).size, 2);

// A limit that is over soon is waited for. One that is not is said, and the post may be repeated as it was.
sent = [];
instead = async () => refusal(1);
await say("patience");
assert.equal(posts().length, 2);
sent = [];
instead = async () => refusal(3600);
await chat.say("too much");
await until("the limit", () => chat.alert() === "Too many streams.");
assert.equal(posts().length, 1);
await chat.click("again");
await until("a reply", () => !chat.isBusy() && chat.shown().at(-1) === "echo: too much");
assert.equal(posts()[0]?.key, posts()[1]?.key);

// A post whose response is lost is repeated with its key, and stored once.
sent = [];
const all = (await stored(room)).length;
instead = async (request) => {
  await network(request);
  throw new TypeError("fetch failed");
};
await chat.say("lost and found");
await until("the failure", () => chat.alert());
await chat.click("again");
await until("a reply", () => !chat.isBusy() && chat.shown().at(-1) === "echo: lost and found");
assert.equal(posts()[0]?.key, posts()[1]?.key);
assert.equal((await stored(room)).length, all + 1);

// A stream that breaks off is gone on with.
sent = [];
instead = async (request) => {
  const response = await network(request);
  let rest = 5;
  const some = new TransformStream({
    transform: (chunk, controller) => (rest-- > 0 ? controller.enqueue(chunk) : controller.terminate()),
  });
  return new Response(response.body!.pipeThrough(some), response);
};
await say(`broken in a page with ${version}`);
assert(sent.some(({ method, path }) => method === "GET" && path.endsWith("/stream")), JSON.stringify(sent));

// The stop button keeps what is there.
await chat.say(`stopped in a page with ${version}`);
await until("some text", () => chat.shown().at(-1)?.startsWith("Tram"));
await chat.click("stop");
await until("the end", async () => (await stored(room)).at(-1)?.status === "answered");
const stopped = (await stored(room)).at(-1);
assert(stopped?.status === "answered" && stopped.reply.finish_reason === "STOPPED", JSON.stringify(stopped));
await until("no stop button", () => !chat.find("button[name=stop]"));
await isAsStored();

// A failure is said in its words.
await chat.say(`failed in a page with ${version}`);
await until("the failure", () => /declined/.test(chat.alert() ?? ""));
await until("nothing of its text", () => chat.shown().at(-1) === `failed in a page with ${version}`);
chat.close();

// Another device posted, and this one comes to it while the reply is written.
const other = await newRoom();
const posted = await post(other, `resumed in a page with ${version}`);
const resumed = draw(<Room session={session} room={other} />);
await until("a part", () => resumed.line(posted)?.startsWith("Tram"));
assert.equal(resumed.line(`${posted}-prompt`), `resumed in a page with ${version}`);
await until("its end", async () => (await stored(other))[0]?.status === "answered" && !resumed.isBusy());
resumed.close();

// What ended after the messages were loaded is loaded again: the stream has no events.
const late = draw(<Conversation session={session} room={other} chat={open(session, other, [])} />);
await until("the stored messages", () => late.line(posted)?.startsWith("Tram"));
assert.equal(late.line(`${posted}-prompt`), `resumed in a page with ${version}`);

// The day's end is said, too.
for (const response of Array(15)) {
  const { error } = await api.POST("/chatroom/{id}/message", { params: { path: { id: room } }, body: { content: "x" } });
  if (error) break;
  assert.equal(response, undefined);
}
await late.say("one more");
await until("the limit", () => late.alert()?.startsWith("Today's messages are used up"));

console.log("loaded, live, again, refreshed, refused, lost, broken, stopped, failed, resumed, idle and over");
process.exit(); // React's scheduler goes on
