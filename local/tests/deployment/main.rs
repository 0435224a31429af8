//! The AWS stack works before anyone pays for it: SAM deploys it into MiniStack, with its permissions enforced, and it
//! is used through its API, its queue and its schedules.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod migration;
mod permissions;
mod secrets;
mod stack;

use local::{deployment::Sam, machine::workspace::Workspace};
use reqwest::Method;
use serde_json::{Value, json};

use stack::{PATIENCE, User, run, until};

#[tokio::test]
async fn sam_and_the_linter_find_nothing_in_the_template() {
    let sam = Sam::install(&Workspace::find().unwrap()).await.unwrap();
    sam.validate().await.unwrap();
}

#[test]
fn a_conversation_is_answered_by_the_deployed_consumer() {
    run(async |stack| {
        let user = User::sign_up(stack).await;
        let room = user.open_room().await;
        for number in 1..=3 {
            let content = format!("Hello, number {number}");
            let message = user.post(&room, &content).await;
            assert_eq!(message["status"], "queued");
            let message = user.settled(&room, &message["id"]).await;
            assert_eq!(message["reply"]["content"], format!("echo: {content}"));
        }
        let path = format!("/chatroom/{room}");
        let whole = user.call(Method::GET, &path, Value::Null, 200).await;
        assert_eq!(whole["messages"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn a_record_that_is_no_wake_up_ends_in_the_dead_letter_queue() {
    run(async |stack| {
        let (sqs, outputs) = (&stack.deployment.aws.sqs, &stack.deployment.outputs);
        // It would come back after the visibility timeout, which is 18 minutes.
        let attributes = sqs.set_queue_attributes().queue_url(&outputs["QueueUrl"]);
        let timeout = aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;
        attributes.attributes(timeout, "1").send().await.unwrap();

        let poison = "not a wake-up";
        let send = sqs.send_message().queue_url(&outputs["QueueUrl"]);
        send.message_body(poison).send().await.unwrap();
        until("it is a dead letter", async || {
            let dead = sqs
                .receive_message()
                .queue_url(&outputs["DeadLetterQueueUrl"]);
            let dead = dead.send().await.unwrap().messages.unwrap_or_default();
            dead.iter()
                .any(|message| message.body.as_deref() == Some(poison))
        })
        .await;
    });
}

#[test]
fn the_schedule_wakes_a_room_whose_wake_up_was_lost() {
    run(async |stack| {
        let user = User::sign_up(stack).await;
        let room = user.open_room().await;
        let message = user.post_without_wake_up(&room, "Anybody there?").await;
        let message = user.settled(&room, &message).await;
        assert_eq!(message["reply"]["content"], "echo: Anybody there?");
    });
}

#[test]
fn a_payment_arrives_through_the_deployed_webhook() {
    run(async |stack| {
        let user = User::sign_up(stack).await;
        let checkout = user
            .call(Method::POST, "/subscribe/pro", json!({}), 200)
            .await;
        let session = checkout["session_id"].as_str().unwrap();
        let pay = format!("{}/_pay/{session}", stack.deployment.stripe.url);
        let paid = stack.deployment.client.post(pay).send().await.unwrap();
        assert!(paid.status().is_success(), "{paid:?}");
        until("the user is Pro", async || {
            let me = user.call(Method::GET, "/user/me", Value::Null, 200).await;
            me["plan"] == "pro"
        })
        .await;
        assert!(PATIENCE.as_secs() > 60, "the schedule runs every minute");
    });
}
