//! What the system survives. A 202 is never lost: its message ends answered or failed. Nothing is doubled: there is one
//! reply and one charge.
//!
//! The faults are real: processes are killed and frozen, Postgres is stopped, connections are cut. Every test sees to
//! it that its fault happened.
//!
//! | # | Fault or bad input | What happens | Test |
//! | --- | --- | --- | --- |
//! | 1 | the queue is down when a message is posted | 202; answered once the queue is back | [`posts`] |
//! | 2 | a crash after the commit, before the wake-up | answered by the sweep | [`posts`] |
//! | 3 | Postgres is down at a post | 503 with `Retry-After`; nothing is stored or queued | [`posts`] |
//! | 4 | the same Idempotency-Key and body, 20 at once | one message, the same 202 | [`posts`] |
//! | 5 | the same key with another body | 422 | [`posts`] |
//! | 6 | a wake-up comes 20 times, also at once | one call of Gemini at a time, one reply | [`workers`] |
//! | 7 | a worker is killed before asking, while asking, before settling | another one takes over when the lease ends | [`workers`] |
//! | 8 | a stalled worker wakes up after another took its room | its write changes nothing | [`workers`] |
//! | 9 | settled, but the acknowledgement is lost | the second delivery does nothing | [`workers`] |
//! | 10 | 10 messages posted quickly to one room | answered in order, each with all earlier turns | [`rooms`] |
//! | 11 | one room's call of Gemini hangs | other rooms are answered; it is deferred at its deadline | [`rooms`] |
//! | 12 | Gemini: 429, 500, 503, connection reset | deferred, retried, answered, however often | [`gemini`] |
//! | 13 | Gemini is down for longer than a message's deadline | failed with its reason; costs nothing | [`gemini`] |
//! | 14 | Gemini: 400, 401, 403, 404 | one call; failed; an alarm | [`gemini`] |
//! | 15 | a blocked prompt, SAFETY, an empty answer, `MAX_TOKENS` | settled with that reason, no retry | [`gemini`] |
//! | 16 | a stream that is cut, or has an error inside | never an answer; retried | [`gemini`] |
//! | 17 | an unreadable body in the queue among good ones | only that one is retried, and ends among the dead | [`queue`] |
//! | 18 | Postgres goes away while a message is answered | asked again; one reply | [`rooms`] |
//! | 19 | 40 parallel posts with 5 left | 5 accepted, 35 × 429; the counter says so | [`posts`] |
//! | 20 | a Stripe event comes 20 times at once, and again | one effect | [`webhook`] |
//! | 21 | a subscription's events in every order, with any one missing | the state Stripe has | [`convergence`] |
//! | 22 | a signature that is forged, old or missing; two while a secret rolls | 400 and no write; accepted | [`webhook`] |
//! | 23 | a genuine event of an unknown type or a newer version | kept | [`webhook`] |
//! | 24 | Postgres or Stripe is down at an event | 5xx, so that Stripe repeats it; then one effect | [`outages`] |
//! | 25 | checkouts at once | one customer, one page; a subscriber gets 409 | [`checkout`] |
//! | 26 | codes that are guessed, spent, expired or raced for | one sign-in at most; the budget holds across codes | [`codes`] |
//! | 27 | a flood from one address, or to one number | 429; others still get codes | [`codes`] |
//! | 28 | forged access tokens | 401 | [`tokens`] |
//! | 29 | a spent refresh token is used again | the session ends for both holders | [`sessions`] |
//! | 30 | another user's room or message | 404, as if it did not exist | [`ids`] |
//! | 31 | a slow list read races with a new room | the next list has the room | [`state`] |
//! | 32 | the state store is down | chat goes on; codes and limits are a 503 | [`state`] |
//! | 33 | bodies that are too large, no JSON, too deep, or strange | 413, 400, 415 or 422 | [`bodies`] |
//! | 34 | a handler panics | 500; the next request works | [`functions`] |
//! | 35 | connections cut while the function was frozen | the request succeeds on new ones | [`functions`] |
//! | | many of these at random | every message comes to its one end | [`random`] |

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

mod bodies;
mod checkout;
mod codes;
mod convergence;
mod functions;
mod gemini;
mod ids;
mod outages;
mod posts;
mod proxy;
mod queue;
mod random;
mod rooms;
mod sessions;
mod signature;
mod state;
mod stops;
mod tokens;
mod webhook;
mod workers;

// Who uses the system here is who uses it in the other tests.
#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "../http_input/stack.rs"]
mod input;
#[path = "../payments/stack.rs"]
mod payments;
#[expect(dead_code, reason = "the other tests use the rest")]
#[macro_use]
#[path = "../http/stack.rs"]
mod stack;

use stack::Stack;

on_every_kind!(
    posts::a_post_while_the_queue_is_down_is_answered_once_it_is_back,
    posts::a_crash_after_the_commit_and_before_the_wake_up_is_made_up_for_by_the_sweep,
    posts::a_post_while_postgres_is_down_is_refused_and_leaves_nothing,
    posts::twenty_equal_idempotency_keys_make_one_message,
    posts::an_idempotency_key_with_another_body_is_refused,
    workers::a_wake_up_that_comes_twenty_times_also_at_once_makes_one_call_at_a_time,
    workers::a_room_whose_worker_was_killed_is_taken_over_when_the_lease_ends,
    workers::a_stalled_worker_that_wakes_up_after_its_room_was_taken_changes_nothing,
    workers::a_wake_up_whose_acknowledgement_was_lost_does_nothing_when_it_comes_again,
    rooms::ten_quick_posts_are_answered_in_order_each_with_all_earlier_turns,
    rooms::a_call_that_hangs_holds_up_no_other_room_and_is_deferred_at_its_deadline,
    gemini::what_may_pass_is_deferred_and_asked_again_until_it_is_answered,
    gemini::a_message_that_gemini_is_away_for_too_long_for_fails_and_costs_nothing,
    gemini::an_error_of_ours_fails_the_message_after_one_call_and_raises_the_alarm,
    gemini::a_refusal_and_a_cut_answer_are_settled_with_their_reason_and_not_repeated,
    gemini::a_broken_stream_is_never_an_answer,
    queue::a_message_that_cannot_be_read_is_retried_alone_and_ends_among_the_dead,
    rooms::postgres_goes_away_while_a_message_is_answered_and_there_is_one_reply,
    posts::of_forty_parallel_posts_with_five_left_exactly_five_are_accepted,
    codes::whoever_guesses_a_code_or_uses_one_again_is_not_signed_in,
    codes::a_flood_of_codes_is_stopped_and_others_still_get_theirs,
    sessions::a_spent_refresh_token_ends_the_session_for_both_holders,
    state::a_list_that_was_read_before_a_room_was_created_is_not_kept,
    state::without_queue_and_state_store_chat_goes_on_and_codes_do_not,
    functions::a_panic_is_a_500_and_the_process_serves_the_next_request,
    functions::connections_that_were_cut_while_the_function_was_frozen_are_replaced,
    random::after_random_faults_every_message_has_come_to_its_one_end,
);

/// Runs each rule about payments on one of their systems, as a test of its own.
macro_rules! on {
    ($stack:ident: $($module:ident :: $rule:ident),+ $(,)?) => {
        mod $stack {
            $(#[test] fn $rule() { super::payments::Stack::$stack().run(super::$module::$rule); })+
        }
    };
}

on!(shared:
    webhook::a_forged_event_is_refused_and_leaves_no_trace,
    webhook::while_a_secret_rolls_either_one_will_do,
    webhook::an_event_of_any_version_and_type_is_accepted_and_kept,
    webhook::a_body_that_came_in_base64_is_verified_as_it_was_signed,
    checkout::a_subscriber_gets_the_portal_instead,
);

on!(alone:
    webhook::an_event_that_comes_twenty_times_at_once_has_one_effect,
    convergence::any_order_with_duplicates_and_any_one_missing_ends_in_stripes_state,
    convergence::events_among_changes_end_in_stripes_state,
    convergence::a_slow_answer_does_not_replace_a_newer_one,
    convergence::a_sync_finds_out_what_no_event_said,
    outages::an_event_is_handled_once_stripe_is_back,
    outages::nobody_can_subscribe_while_stripe_is_away_but_everybody_can_chat,
    outages::an_account_stays_whole_while_stripe_is_away,
    checkout::checkouts_at_once_give_one_customer_and_one_page,
);

#[test]
fn an_event_is_handled_once_postgres_is_back() {
    outages::an_event_is_handled_once_postgres_is_back();
}
