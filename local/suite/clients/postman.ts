// Makes a Postman collection of openapi.yaml, in which each request goes on with what the ones before it returned:
//   node postman.ts openapi.yaml chat.postman_collection.json

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// Its types are out of date.
const converter = createRequire(import.meta.url)("openapi-to-postmanv2");

type Variable = { key: string; value: string };
type Optional = Variable & { disabled?: boolean };
type Request = {
  method: string;
  url: { host: string[]; path: string[]; variable: Variable[]; query: Optional[] };
  header?: Optional[];
  body?: { raw?: string };
};
type Item = { name: string; item?: Item[]; request?: Request; response?: unknown[] };
type Event = { listen: string; script: { type: string; exec: string[] } };
type Collection = { item: Item[]; variable: Variable[]; event?: Event[]; auth?: object };

const { positionals } = parseArgs({ allowPositionals: true });
const [contract, target] = positionals;
assert(contract && target, "usage: node postman.ts CONTRACT COLLECTION");

/** A conversation, in its order. */
const CONVERSATION = [
  "POST auth/signup",
  "POST auth/verify-otp",
  "GET user/me",
  "POST chatroom",
  "POST chatroom/:id/message",
  "GET chatroom/:id/message/:message_id",
  "POST chatroom/:id/stream",
  "GET chatroom/:id/stream",
  "GET chatroom/:id",
  "GET chatroom",
  "POST auth/refresh",
  "GET subscription/status",
];

/** Remembers what the next requests need. */
const REMEMBER = `
const isJson = pm.response.headers.get("content-type") === "application/json";
const body = isJson ? pm.response.json() : {};
for (const name of ["challenge", "otp", "access_token", "refresh_token"]) {
  if (body[name]) pm.collectionVariables.set(name, body[name]);
}
if (body.active_at) pm.collectionVariables.set("chatroom", body.id);
if (body.chatroom_id) pm.collectionVariables.set("message", body.id);
const events = pm.response.text().match(/^id: .*$/gm);
if (events) pm.collectionVariables.set("event", events.at(-1).slice(4));
pm.test("it is not refused", () => pm.expect(pm.response.code).to.be.below(400));`;

const VARIABLES: Variable[] = [
  { key: "baseUrl", value: "http://127.0.0.1:9000" },
  { key: "streamUrl", value: "http://127.0.0.1:9000" },
  { key: "mobile", value: "+15550109999" },
];

/** What stands in a request for what an earlier one returned. */
const IN_BODY = ["mobile", "challenge", "otp", "refresh_token"];
const IN_PATH: Record<string, string> = { id: "{{chatroom}}", message_id: "{{message}}" };
const OPTIONAL: Record<string, string> = {
  "Idempotency-Key": "{{$guid}}",
  "Last-Event-ID": "{{event}}",
  wait: "20",
};

function chain(request: Request) {
  if (request.url.path.at(-1) === "stream") request.url.host = ["{{streamUrl}}"];
  for (const variable of request.url.variable) variable.value = IN_PATH[variable.key] ?? variable.value;
  for (const parameter of [...(request.header ?? []), ...request.url.query]) {
    if (parameter.key in OPTIONAL) Object.assign(parameter, { value: OPTIONAL[parameter.key], disabled: false });
  }
  if (request.body?.raw) {
    const body = JSON.parse(request.body.raw);
    for (const name of IN_BODY) if (name in body) body[name] = `{{${name}}}`;
    request.body.raw = JSON.stringify(body, null, 2);
  }
}

function requests(items: Item[]): Item[] {
  return items.flatMap((item) => (item.item ? requests(item.item) : [item]));
}

const options = {
  folderStrategy: "Tags",
  parametersResolution: "Example",
  enableOptionalParameters: false,
};
const data = readFileSync(contract, "utf8");
const collection = await new Promise<Collection>((resolve, reject) =>
  converter.convertV2({ type: "string", data }, options, (error: Error | null, result: any) =>
    result?.result ? resolve(result.output[0].data) : reject(error ?? new Error(result.reason)),
  ),
);
const all = requests(collection.item);
for (const { request } of all) chain(request!);
const conversation = CONVERSATION.map((step) => {
  const found = all.find(({ request }) => `${request!.method} ${request!.url.path.join("/")}` === step);
  assert(found, `the contract has no ${step}`);
  return found;
});
collection.item.unshift({ name: "A conversation", item: structuredClone(conversation) });
collection.variable = VARIABLES;
collection.auth = { type: "bearer", bearer: [{ key: "token", type: "string", value: "{{access_token}}" }] };
collection.event = [{ listen: "test", script: { type: "text/javascript", exec: REMEMBER.trim().split("\n") } }];
writeFileSync(target, JSON.stringify(collection, null, 2));
