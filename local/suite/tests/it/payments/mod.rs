//! Tests payments against the Stripe stand-in: checkout, portal, webhooks, and the plan that follows from them.

mod account;
mod checkout;
mod convergence;
mod lifecycle;
mod outages;
mod signature;
mod stand_in;
mod webhook;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as Stripe counts.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

on_every_kind!(
    checkout::a_subscription_to_another_price_is_not_pro,
    checkout::nobody_gets_pages_without_end,
    account::a_subscriber_who_leaves_pays_no_more,
    lifecycle::a_user_subscribes_cancels_falls_behind_and_subscribes_again,
);

on!(sqs:
    checkout::a_user_who_has_not_paid_yet_gets_the_open_page_again,
    checkout::a_customer_that_was_deleted_at_stripe_is_replaced,
    checkout::a_key_that_was_used_for_something_else_is_left_behind,
    checkout::a_page_that_expired_is_replaced,
    checkout::an_open_page_is_given_again,
    checkout::nobody_without_a_customer_has_a_portal,
    checkout::a_subscriber_gets_the_portal_instead,
    lifecycle::the_best_of_several_subscriptions_counts,
    lifecycle::a_late_payer_keeps_the_first_day_of_being_late,
    outages::an_event_is_handled_once_postgres_is_back,
);

on!(redis:
    account::leaving_closes_the_payment_page_that_is_open,
    account::leaving_goes_on_where_it_broke_off,
    account::nobody_can_pay_for_an_account_that_is_gone,
    stand_in::a_call_that_it_does_not_know_is_a_clear_404,
    stand_in::its_pages_work_without_a_script,
    webhook::a_forged_event_is_refused_and_leaves_no_trace,
    webhook::while_a_secret_rolls_either_one_will_do,
    webhook::an_event_of_any_version_and_type_is_accepted_and_kept,
    webhook::a_nul_in_an_event_is_refused,
    webhook::an_event_is_kept_without_its_content_and_goes_with_the_account,
    webhook::a_body_that_came_in_base64_is_verified_as_it_was_signed,
);

on!(alone:
    account::leaving_waits_for_a_payment_that_is_running,
    webhook::an_event_about_nobody_here_is_accepted_and_kept_and_stripe_is_not_asked,
    checkout::an_error_that_stripe_would_repeat_is_left_behind,
    checkout::a_user_who_paid_without_an_event_is_not_sold_a_second_one,
    checkout::checkouts_at_once_give_one_customer_and_one_page,
    webhook::an_event_that_comes_twenty_times_at_once_has_one_effect,
    convergence::any_order_with_duplicates_and_any_one_missing_ends_in_stripes_state,
    convergence::events_among_changes_end_in_stripes_state,
    convergence::a_slow_answer_does_not_replace_a_newer_one,
    convergence::a_sync_finds_out_what_no_event_said,
    outages::an_event_is_handled_once_stripe_is_back,
    outages::a_read_that_stripe_refuses_for_a_moment_is_repeated,
    outages::a_write_whose_response_is_lost_is_repeated_under_its_key,
    outages::nobody_can_subscribe_while_stripe_is_away_but_everybody_can_chat,
    outages::an_account_stays_whole_while_stripe_is_away,
);
