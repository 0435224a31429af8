// A conversation through the client that openapi-generator makes of openapi.yaml.

import java.util.Objects;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.JSON;
import org.openapitools.client.api.AuthApi;
import org.openapitools.client.api.ChatroomApi;
import org.openapitools.client.api.MessageApi;
import org.openapitools.client.model.*;

class Flow {
  static final String CONTENT = "Which tram goes to Belém?";

  static void check(boolean holds, Object value) {
    if (!holds) throw new AssertionError(value);
  }

  static Object settled(MessageApi messages, Chatroom room, AcceptedMessage posted) throws ApiException {
    while (true) {
      Object message = messages.messageGet(room.getId(), posted.getId(), 20).getActualInstance();
      if (!(message instanceof WaitingMessage)) return message;
    }
  }

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv("API_URL"));
    String mobile = System.getenv("MOBILE");

    // Sign up, and in with the code.
    AuthApi auth = new AuthApi(client);
    CodeSent sent = auth.authSignup(new Signup().mobile(mobile).name("Ada"));
    SignedIn signedIn =
        auth.authVerifyOtp(new Proof().mobile(mobile).challenge(sent.getChallenge()).otp(sent.getOtp()));
    check(signedIn.getUser().getMobile().equals(mobile), signedIn);
    client.setRequestInterceptor(
        request -> request.header("authorization", "Bearer " + signedIn.getAccessToken()));

    // Open a chatroom, and post a message: the same one, however often it is sent.
    ChatroomApi chatrooms = new ChatroomApi(client);
    MessageApi messages = new MessageApi(client);
    Chatroom room = chatrooms.chatroomCreate(new ChatroomDraft().title("Trip to Lisbon"));
    MessageDraft draft = new MessageDraft().content(CONTENT);
    AcceptedMessage posted = messages.messageSend(room.getId(), draft, "tram");
    check(posted.equals(messages.messageSend(room.getId(), draft, "tram")), posted);

    // Wait for the reply.
    AnsweredMessage answered = (AnsweredMessage) settled(messages, room, posted);
    Reply reply = answered.getReply();
    check(reply.getContent().equals("echo: " + CONTENT), reply);

    // List the chatrooms, and open this one at its end.
    check(chatrooms.chatroomList(1, null, null).getItems().get(0).getId().equals(room.getId()), room);
    ChatroomWithMessages page = chatrooms.chatroomGet(room.getId(), "desc", null, null);
    AnsweredMessage newest = (AnsweredMessage) page.getMessages().get(0).getActualInstance();
    check(newest.getReply().equals(reply) && Objects.isNull(page.getNextCursor()), page);

    // A message that fails has its reason.
    posted = messages.messageSend(room.getId(), new MessageDraft().content("refused in Java"), null);
    FailedMessage failed = (FailedMessage) settled(messages, room, posted);
    check(failed.getFailure().getReason().equals("SAFETY"), failed);

    // The events of a stream are its models.
    String event = "{\"type\":\"text-delta\",\"id\":\"reply\",\"delta\":\"Number\"}";
    StreamEvent read = JSON.getDefault().getMapper().readValue(event, StreamEvent.class);
    check(((TextDeltaEvent) read.getActualInstance()).getDelta().equals("Number"), read);

    // An error is a problem document.
    try {
      chatrooms.chatroomCreate(new ChatroomDraft().title(""));
      throw new AssertionError("it was accepted");
    } catch (ApiException error) {
      Invalid problem = JSON.getDefault().getMapper().readValue(error.getResponseBody(), Invalid.class);
      check(error.getCode() == 422 && problem.getErrors().get(0).getField().equals("title"), problem);
    }

    System.out.println("the reply is: " + newest.getReply().getContent());
  }
}
