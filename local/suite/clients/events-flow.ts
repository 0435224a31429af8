// Reads a stream with the function of docs/clients.md, in a page that is hidden and over a network that breaks.

import assert from "node:assert/strict";

const [url, token, room] = ["API_URL", "TOKEN", "ROOM"].map((name) => {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}) as [string, string, string];

// What the library needs of a page.
const document = Object.assign(new EventTarget(), { hidden: false });
Object.assign(globalThis, { window: globalThis, document });
const { ask } = await import("./events.ts");
const { Session } = await import("./session.ts");

const network = globalThis.fetch;
const keys: (string | null)[] = [];
globalThis.fetch = async (input, init) => {
  keys.push(new Headers(init?.headers).get("idempotency-key"));
  const response = await network(input, init);
  // The first stream breaks off while it is written, the second one in the middle of what is replayed.
  if (keys.length === 1) {
    let rest = 5;
    const some = new TransformStream({
      transform: (chunk, controller) => (rest-- > 0 ? controller.enqueue(chunk) : controller.terminate()),
    });
    return new Response(response.body!.pipeThrough(some), response);
  }
  if (keys.length === 2) {
    const text = await response.text();
    return new Response(text.slice(0, text.indexOf("text-delta")), response);
  }
  return response;
};

const seen: string[] = [];
const tokens = { access_token: token, token_type: "Bearer", expires_in: 900, refresh_token: "none" } as const;
const session = new Session(url, url, tokens);
const reply = await ask(session, room, "in a hidden page", (text) => {
  seen.push(text);
  document.hidden = !document.hidden;
  document.dispatchEvent(new Event("visibilitychange"));
});
assert(seen.length > 2, `it grew in ${seen.length} steps`);
// Twice broken, so posted thrice, with one key.
assert.equal(keys.length, 3);
assert.equal(new Set(keys).size, 1);
// A refusal is final.
await assert.rejects(ask(session, "nowhere", "refused", () => {}), /no such chatroom/);
assert.equal(keys.length, 4);

console.log(`the reply is: ${reply}`);
