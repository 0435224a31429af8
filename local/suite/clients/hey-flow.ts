// A conversation through the client that @hey-api/openapi-ts makes of openapi.yaml. The compiler holds every event of
// the stream to the contract.

import assert from "node:assert/strict";
import { client } from "./hey/client.gen.ts";
import { authSignup, authVerifyOtp, chatroomCreate, messageStream } from "./hey/sdk.gen.ts";
import type { Policy, StreamEvent, TextDeltaEvent } from "./hey/types.gen.ts";

const baseUrl = process.env["API_URL"];
assert(baseUrl, "API_URL is not set");
const mobile = process.env["MOBILE"];
assert(mobile, "MOBILE is not set");
client.setConfig({ baseUrl });

const sent = await authSignup({ body: { mobile, name: "Ada" } });
assert(sent.data?.otp, JSON.stringify(sent.error));
const { challenge, otp } = sent.data;
const signedIn = await authVerifyOtp({ body: { mobile, challenge, otp } });
assert(signedIn.data, JSON.stringify(signedIn.error));
client.setConfig({ baseUrl, auth: signedIn.data.access_token });

const room = await chatroomCreate({ body: { title: "Trip to Lisbon" } });
assert(room.data, JSON.stringify(room.error));
const { stream } = await messageStream({
  path: { id: room.data.id },
  headers: { "Idempotency-Key": crypto.randomUUID() },
  body: { content: "Which tram goes to Belém?" },
});
let reply = "";
const types: StreamEvent["type"][] = [];
for await (const event of stream) {
  if (typeof event !== "object") continue; // the last one: [DONE]
  types.push(event.type);
  if (event.type === "text-delta") {
    const { delta }: TextDeltaEvent = event;
    reply += delta;
  }
  if (event.type === "finish") assert.equal(event.messageMetadata.chatroom_id, room.data.id);
}
assert.deepEqual([types.at(0), types.at(-1)], ["start", "finish"]);

// The limits have names, too.
const policy: Policy = "daily-messages";
assert(policy);

console.log(`the reply is: ${reply}`);
