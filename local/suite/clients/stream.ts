// Reads streams as `useChat` of the AI SDK does: with its chat and its transport, and a state that no framework draws.
// A reply that is written while it is read, one that another device waits for, and one that is stopped.

import assert from "node:assert/strict";
import { AbstractChat, type ChatState, type ChatStatus, DefaultChatTransport, type UIMessage } from "ai";

const [url, token, room] = ["API_URL", "TOKEN", "ROOM"].map((name) => {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}) as [string, string, string];
const authorization = `Bearer ${token}`;

// This is all that an app configures.
const stream = `${url}${room}/stream`;
const transport = new DefaultChatTransport<UIMessage>({
  api: stream,
  headers: { authorization },
  prepareSendMessagesRequest: ({ messages, headers }) => {
    const message = messages.at(-1)!;
    return { headers: { ...headers, "idempotency-key": message.id } as HeadersInit, body: { content: text(message) } };
  },
  prepareReconnectToStreamRequest: () => ({ api: stream }),
});

class State implements ChatState<UIMessage> {
  status: ChatStatus = "ready";
  error: Error | undefined;
  messages: UIMessage[] = [];
  onText: (text: string) => void = () => {};
  pushMessage = (message: UIMessage) => {
    this.messages.push(message);
    this.onText(text(message));
  };
  popMessage = () => void this.messages.pop();
  replaceMessage = (index: number, message: UIMessage) => {
    this.messages[index] = structuredClone(message);
    this.onText(text(message));
  };
  snapshot = structuredClone;
}

class Chat extends AbstractChat<UIMessage> {
  readonly drawn: State;

  constructor() {
    const drawn = new State();
    super({ state: drawn, transport });
    this.drawn = drawn;
  }
}

function text(message: UIMessage): string {
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

type Message = { id: string; status: string; reply?: { content: string; finish_reason: string } };

async function call(method: string, path: string, body?: object): Promise<Message> {
  const headers = { authorization, "content-type": "application/json" };
  const response = await fetch(`${url}${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  assert(response.ok, `${method} ${path}: ${response.status}`);
  return (await response.json()) as Message;
}

/** The last message of a chat that is at rest, and the same as the API has it. */
async function ended(chat: Chat): Promise<[UIMessage, Message]> {
  assert.deepEqual([chat.status, chat.error], ["ready", undefined]);
  const reply = chat.lastMessage;
  assert.equal(reply?.role, "assistant");
  const stored = await call("GET", `${room}/message/${reply.id}`);
  assert.equal(text(reply), stored.reply?.content);
  return [reply, stored];
}

// Live: the text grows while it is written.
const live = new Chat();
const seen = new Set<string>();
live.drawn.onText = (text) => seen.add(text);
await live.sendMessage({ text: "live by the SDK" });
const [reply, stored] = await ended(live);
assert.equal(stored.reply?.finish_reason, "STOP");
assert.equal((reply.metadata as Message).status, "answered");
assert(seen.size > 4, `it grew in ${seen.size} steps`);

// Resumed: another device posted, and this one comes to it. When nothing goes on, nothing comes.
const resumed = new Chat();
await resumed.resumeStream();
assert.deepEqual([resumed.status, resumed.messages], ["ready", []]);
const posted = await call("POST", `${room}/message`, { content: "resumed by the SDK" });
await resumed.resumeStream();
const [, answered] = await ended(resumed);
assert.equal(answered.id, posted.id);

// Stopped: the reply is what was drawn.
const stopped = new Chat();
let stop: Promise<Message> | undefined;
stopped.drawn.onText = (text) => {
  const id = stopped.lastMessage?.id;
  if (text && stopped.lastMessage?.role === "assistant") {
    stop ??= call("POST", `${room}/message/${id}/stop`);
  }
};
await stopped.sendMessage({ text: "stopped by the SDK" });
assert.equal((await stop)?.status, "answering");
assert.equal((await ended(stopped))[1].reply?.finish_reason, "STOPPED");

// A failure is an error with its words.
const failed = new Chat();
await failed.sendMessage({ text: "failed by the SDK" });
assert.equal(failed.status, "error");
assert.match(failed.error?.message ?? "", /declined/);

console.log("live, resumed, stopped and failed");
