//! The system over HTTP, from signing up to the reply, on both kinds of queue and state store.
//!
//! Each kind has one running system that its tests share. What Gemini does is laid down for one prompt at a time, so
//! the tests do not disturb each other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

mod codes;
mod drain;
mod limits;
mod lists;
mod passwords;
mod posts;
mod sessions;
#[macro_use]
mod stack;

use stack::Stack;

on_every_kind!(
    codes::a_new_code_comes_after_thirty_seconds,
    codes::unknown_numbers_get_the_same_answers,
    codes::a_number_is_the_same_however_it_is_written,
    codes::an_unverified_number_owns_nothing,
    limits::a_number_gets_five_codes_an_hour_and_others_are_not_affected,
    limits::sms_go_to_known_numbers_only,
    passwords::a_password_signs_in_and_a_wrong_one_or_an_unknown_number_does_not,
    passwords::weak_passwords_are_refused,
    passwords::a_reset_ends_every_session,
    passwords::a_change_needs_the_current_password_and_ends_the_other_sessions,
    passwords::guessing_passwords_is_limited_and_codes_still_work,
    sessions::a_hundred_refreshes_at_once_leave_one_session_and_an_honest_client,
    sessions::logging_out_ends_this_session_or_all,
    sessions::a_deleted_account_is_gone_with_everything,
    posts::a_conversation_goes_from_sign_up_to_its_second_reply,
    drain::a_plain_process_drains_the_queue_and_finishes_what_it_began_when_told_to_stop,
    lists::a_list_never_lacks_a_room_whose_creation_was_answered,
    lists::a_message_moves_its_room_to_the_top_of_the_list,
    lists::a_warm_list_runs_no_statement,
);

#[test]
fn redis_stops_for_five_seconds_in_the_middle_of_fifty_conversations_and_every_message_is_answered()
{
    Stack::of_redis().run(drain::redis_stops_in_the_middle_of_fifty_conversations);
}
