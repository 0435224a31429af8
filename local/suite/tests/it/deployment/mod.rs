//! Tests the AWS stack without paying for it: SAM deploys it into MiniStack, with its permissions enforced, and the
//! tests use it through its API, its queue and its schedules.

mod document;
mod migration;
mod permissions;
mod secrets;
mod stack;

use std::time::Duration;

use local_suite::harness::until;
use serde_json::json;

use stack::{post_without_wake_up, run};

#[test]
fn a_conversation_is_answered_by_the_deployed_consumer() {
    run(async |deployed| {
        let user = deployed.api.user().await;
        let room = user.room().await;
        for number in 1..=3 {
            let content = format!("Hello, number {number}");
            let message = user.post(&room, &content).await;
            assert_eq!(user.reply(&message).await, format!("echo: {content}"));
        }
        let whole = user.get(&room).await.expect(200);
        assert_eq!(whole["messages"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn a_record_that_is_no_wake_up_ends_in_the_dead_letter_queue() {
    run(async |deployed| {
        let (aws, outputs) = (&deployed.deployment.account.aws, &deployed.deployment.outputs);
        // It would come back after the visibility timeout, which is 18 minutes.
        let body = json!({"QueueUrl": outputs["QueueUrl"], "Attributes": {"VisibilityTimeout": "1"}});
        aws.act("sqs", "AmazonSQS.SetQueueAttributes", &body).await.unwrap();

        let poison = "not a wake-up";
        aws.send_message(&outputs["QueueUrl"], poison).await.unwrap();
        until("it is a dead letter", async || {
            let dead = aws.receive_messages(&outputs["DeadLetterQueueUrl"], Duration::ZERO);
            let dead = dead.await.unwrap();
            dead.iter().any(|message| message.body == poison)
        })
        .await;
    });
}

#[test]
fn the_schedule_wakes_a_room_whose_wake_up_was_lost() {
    run(async |deployed| {
        let user = deployed.api.user().await;
        let message = post_without_wake_up(&user, &user.room().await, "Anybody there?").await;
        assert_eq!(user.reply(&message).await, "echo: Anybody there?");
    });
}

#[test]
fn a_payment_arrives_through_the_deployed_webhook() {
    run(async |deployed| {
        let user = deployed.api.user().await;
        let page = user.subscribe().await;
        user.pay(&page).await;
        user.becomes("pro").await;
    });
}
