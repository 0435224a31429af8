"""A conversation through the client that openapi-generator makes of openapi.yaml."""

import os

from openapi_client import (
    AnsweredMessage,
    ApiClient,
    ApiException,
    AuthApi,
    ChatroomApi,
    ChatroomDraft,
    Configuration,
    FailedMessage,
    MessageApi,
    MessageDraft,
    Proof,
    Signup,
    StreamEvent,
    TextDeltaEvent,
    WaitingMessage,
)
from openapi_client.exceptions import UnprocessableEntityException

MOBILE = os.environ["MOBILE"]
CONTENT = "Which tram goes to Belém?"
configuration = Configuration(host=os.environ["API_URL"])
client = ApiClient(configuration)

# Sign up, and in with the code.
auth = AuthApi(client)
sent = auth.auth_signup(Signup(mobile=MOBILE, name="Ada"))
assert sent.otp, sent
signed_in = auth.auth_verify_otp(Proof(mobile=MOBILE, challenge=sent.challenge, otp=sent.otp))
assert signed_in.user.mobile == MOBILE, signed_in
assert signed_in.user.created_at.microsecond, signed_in
configuration.access_token = signed_in.access_token

# Open a chatroom, and post a message: the same one, however often it is sent.
chatrooms, messages = ChatroomApi(client), MessageApi(client)
room = chatrooms.chatroom_create(ChatroomDraft(title="Trip to Lisbon"))
posted = messages.message_send(room.id, MessageDraft(content=CONTENT), idempotency_key="tram")
repeated = messages.message_send(room.id, MessageDraft(content=CONTENT), idempotency_key="tram")
assert posted == repeated, (posted, repeated)

# Wait for the reply.
message = messages.message_get(room.id, posted.id, wait=20).actual_instance
while isinstance(message, WaitingMessage):
    message = messages.message_get(room.id, posted.id, wait=20).actual_instance
assert isinstance(message, AnsweredMessage), message
assert message.reply.content == f"echo: {CONTENT}", message

# List the chatrooms, and open this one at its end.
rooms = chatrooms.chatroom_list(limit=1)
assert rooms.items[0].id == room.id, rooms
page = chatrooms.chatroom_get(room.id, order="desc")
newest = page.messages[0].actual_instance
assert isinstance(newest, AnsweredMessage) and newest.reply == message.reply, page
assert page.next_cursor is None, page

# A message that fails has its reason.
posted = messages.message_send(room.id, MessageDraft(content="refused in Python"))
message = messages.message_get(room.id, posted.id, wait=20).actual_instance
while isinstance(message, WaitingMessage):
    message = messages.message_get(room.id, posted.id, wait=20).actual_instance
assert isinstance(message, FailedMessage) and message.failure.reason == "SAFETY", message

# The events of a stream are its models.
response = messages.message_stream_without_preload_content(room.id, MessageDraft(content=CONTENT))
text, types = "", []
for line in response.read().decode().split("\n"):
    data = line.removeprefix("data: ")
    if data != line and data != "[DONE]":
        event = StreamEvent.from_json(data)
        assert event and event.actual_instance, data
        types.append(event.actual_instance.type)
        if isinstance(event.actual_instance, TextDeltaEvent):
            text += event.actual_instance.delta
assert text == f"echo: {CONTENT}", text
assert types[:2] == ["start", "text-start"] and types[-2:] == ["text-end", "finish"], types

# An error is a problem document. Each status has a schema.
try:
    messages.message_get(room.id, room.id)
    raise AssertionError("it was found")
except ApiException as error:
    assert error.status == 404 and error.data.type == "/problems/not-found", error
try:
    # The client itself refuses what breaks the contract; the server knows which passwords are common.
    auth.auth_change_password({"new_password": "password123"})
    raise AssertionError("it was accepted")
except UnprocessableEntityException as error:
    assert error.data.to_dict()["errors"][0]["field"] == "new_password", error

print(f"the reply is: {newest.reply.content}")
