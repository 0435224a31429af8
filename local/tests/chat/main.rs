//! Chatting over HTTP, from the post to the reply, on both kinds of queue and state store.
//!
//! Each kind has one running system that its tests share. What Gemini does is laid down for one prompt at a time, so the
//! tests do not disturb each other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

mod answers;
mod lists;
mod posts;
mod stack;

use stack::Stack;

/// Runs each rule on each kind of system, as a test of its own.
macro_rules! on_every_kind {
    ($($module:ident :: $rule:ident),+ $(,)?) => {
        mod sqs_and_dynamodb {
            $(#[test] fn $rule() { super::Stack::of_aws().run(super::$module::$rule); })+
        }
        mod redis_and_redis {
            $(#[test] fn $rule() { super::Stack::of_redis().run(super::$module::$rule); })+
        }
    };
}

on_every_kind!(
    posts::a_conversation_goes_from_sign_up_to_its_second_reply,
    posts::of_forty_parallel_posts_with_five_left_exactly_five_are_accepted,
    posts::twenty_equal_idempotency_keys_make_one_message,
    posts::an_idempotency_key_with_another_body_is_refused,
    posts::another_users_room_does_not_exist,
    answers::ten_quick_posts_are_answered_in_order_each_with_all_earlier_turns,
    answers::a_killed_workers_room_is_taken_over,
    answers::a_message_whose_wake_up_was_lost_is_swept,
    answers::a_storm_of_503_ends_answered,
    answers::the_delay_that_gemini_asks_for_is_kept,
    answers::a_permanent_error_ends_failed_and_gives_the_quota_back,
    answers::a_refusal_is_settled_with_its_reason_and_not_repeated,
    answers::a_broken_stream_is_never_an_answer,
    answers::an_answer_that_is_cut_at_the_limit_says_so,
    lists::a_list_never_lacks_a_room_whose_creation_was_answered,
    lists::a_message_moves_its_room_to_the_top_of_the_list,
    lists::a_warm_list_runs_no_statement,
);
